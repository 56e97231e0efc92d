// Stage 08c: a network of its own, see network_namespaces(7), and ways out of it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/06_pivot_root/mounts.h"
#include "stages/08c_network/janitor.h"
#include "stages/08c_network/published_port.h"

namespace box {

enum class NetworkKind { kNone, kHost, kBridge, kPasta, kSlirp4netns };

// --network and -p/--publish. When the command line has been read, and nothing has been made yet,
// throws Failure if what the network needs is missing.
struct NetworkOptions {
  NetworkOptions(CommandLine& line, const NamespaceOptions& namespaces);

  NetworkKind kind = NetworkKind::kNone;
  std::vector<PublishedPort> ports;
  const std::string& hostname;

 private:
  void choose_kind();
  void check() const;

  bool kind_given_ = false;
};

// The container's network from before its start to after its end: the destructor removes what
// connect() has made.
class Network {
 public:
  // In the parent, before there is a child: takes the ports. Throws Failure if one is taken.
  explicit Network(const NetworkOptions& options);

  // CLONE_NEWNET, or 0 with --network host.
  [[nodiscard]] std::uint64_t namespaces() const;

  // In the child: take_from_host() of stage 06, but with a /sys that shows the container's links,
  // and with those files of /etc that the host has for the container.
  [[nodiscard]] HostMounts take_from_host(MountOptions mounts, MountsByPath& shown) const;

  // In the child, in its root, as root: lo, the namespace's settings, /etc/hosts and
  // /etc/resolv.conf. Before the volumes are attached, which may cover these files.
  void set_up_inside(const HostMounts& host) const;

  // In the parent, while the child waits.
  void connect(pid_t child);

 private:
  const NetworkOptions& options_;
  std::vector<PublishedPort> ports_;  // none is left to be chosen
  std::vector<UniqueFd> sockets_;     // those that have the ports
  std::string hosts_file_;            // of the host, that all containers at the bridge share
  std::string resolv_conf_;
  std::unique_ptr<Janitor> janitor_;
};

}  // namespace box
