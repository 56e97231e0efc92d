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

// --network and -p/--publish
struct NetworkOptions {
  explicit NetworkOptions(CommandLine& line);

  NetworkKind kind = NetworkKind::kNone;
  std::vector<PublishedPort> ports;
};

// The container's network, from before its start to after its end: the destructor takes away what
// connect() has made.
class Network {
 public:
  // In the parent, before the child starts. Throws Failure, with nothing made, if a published port
  // is taken or what the network needs is missing. Adds to `mounts` the files that are the host's.
  Network(const NetworkOptions& options, const NamespaceOptions& own, MountOptions& mounts);

  // CLONE_NEWNET, or 0 with --network host.
  [[nodiscard]] std::uint64_t namespaces() const;

  // In the child, while the host's /sys is there: takes one that shows the container's links.
  void take_own_sys(HostMounts& host) const;

  // In the child, in its root, as root: lo, /etc/hosts and /etc/resolv.conf.
  void set_up_inside() const;

  // In the parent, while the child waits.
  void connect(pid_t child);

 private:
  NetworkKind kind_;
  std::string hostname_;
  std::vector<PublishedPort> ports_;
  std::vector<UniqueFd> reserved_;
  std::string resolv_conf_;
  std::unique_ptr<Janitor> janitor_;
};

// The text for the container's resolv.conf(5): what `host` says, less the name servers that are the
// host's own, at its loopback.
[[nodiscard]] std::string without_loopback(const std::string& host);

}  // namespace box
