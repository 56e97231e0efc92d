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

// --network and -p/--publish. After the command line has been read, and before anything is made,
// throws Failure if something that the network needs is missing.
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
  // In the parent, before there is a child: reserves the ports. Throws Failure if one is taken.
  explicit Network(const NetworkOptions& options);

  // CLONE_NEWNET, or 0 with --network host.
  [[nodiscard]] std::uint64_t namespaces() const;

  // In the child: take_from_host() of stage 06, but with a /sys that shows the container's links,
  // and with the files of /etc that the host provides for the container.
  [[nodiscard]] HostMounts take_from_host(MountOptions mounts, MountsByPath& shown) const;

  // In the child, in its root, as root: lo, the namespace's settings, /etc/hosts and
  // /etc/resolv.conf. Before the volumes are attached, which may cover these files.
  void set_up_inside(const HostMounts& host) const;

  // In the parent, while the child waits.
  void connect(pid_t child);

 private:
  const NetworkOptions& options_;
  std::vector<PublishedPort> ports_;  // with every port chosen
  std::vector<UniqueFd> sockets_;     // the sockets that reserve the ports
  std::string hosts_file_;            // of the host; all containers at the bridge share it
  std::string resolv_conf_;
  std::unique_ptr<Janitor> janitor_;
};

// In the child: ip link set lo up. A new namespace's loopback is down, and then even 127.0.0.1 is
// unreachable.
void bring_up_loopback();

}  // namespace box
