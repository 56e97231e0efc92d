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

// --network and -p/--publish, and the container's network from before its start to after its end:
// the destructor takes away what connect() has made.
class Network {
 public:
  // When the command line has been read, and nothing has been made yet, throws Failure if what the
  // network needs is missing or a published port is taken. Adds to `mounts` the files of the
  // container's that the host has.
  Network(CommandLine& line, const NamespaceOptions& own, MountOptions& mounts);

  // CLONE_NEWNET, or 0 with --network host.
  [[nodiscard]] std::uint64_t namespaces() const;

  // In the child: take_from_host() of stage 06, but with a /sys that shows the container's links.
  [[nodiscard]] HostMounts take_from_host(const MountOptions& mounts) const;

  // In the child, in its root, as root: lo, /etc/hosts and /etc/resolv.conf. Before the volumes are
  // attached, which may cover these files.
  void set_up_inside() const;

  // In the parent, while the child waits.
  void connect(pid_t child);

 private:
  void choose_kind();
  void prepare(MountOptions& mounts);

  NetworkKind kind_ = NetworkKind::kNone;
  bool kind_given_ = false;
  std::vector<PublishedPort> ports_;
  const std::string& hostname_;
  std::vector<UniqueFd> reserved_;
  std::string resolv_conf_;
  std::unique_ptr<Janitor> janitor_;
};

// The text for the container's resolv.conf(5): what `host` says, less the name servers that are the
// host's own, at its loopback.
[[nodiscard]] std::string without_loopback(const std::string& host);

}  // namespace box
