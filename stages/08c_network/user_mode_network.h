// As an ordinary user: pasta(1) or slirp4netns(1), which take the container's packets from a tap
// device and speak for it with sockets of their own, as any program may.
#pragma once

#include <sys/types.h>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "stages/08c_network/janitor.h"
#include "stages/08c_network/published_port.h"

namespace box {

inline constexpr const char* kPasta = "pasta";
inline constexpr const char* kSlirp4netns = "slirp4netns";

// Throws Failure, with a hint, if `helper` is not installed or there is no /dev/net/tun for it.
void check_that_helper_is_possible(const std::string& helper);

// pasta, or slirp4netns where pasta is not installed or this host has no default route, which pasta
// needs. Throws Failure if neither is installed.
[[nodiscard]] std::string helper_that_works();

// The name server in the container's resolv.conf: the helper forwards requests to the host's.
[[nodiscard]] std::string name_server_of(const std::string& helper);

// In the parent, while the child waits: starts the helper `name` and waits until it has connected
// the network namespace of `child`. The janitor ends it.
[[nodiscard]] std::unique_ptr<Janitor> start_helper(const std::string& name, pid_t child,
                                                    const std::vector<PublishedPort>& ports);

// The command line of either, for the tests. `owner` is that of the namespaces of `child`, if root
// starts pasta. `folder` is where slirp4netns puts the socket of its API, or "".
[[nodiscard]] std::vector<std::string> pasta_command(pid_t child,
                                                     const std::vector<PublishedPort>& ports,
                                                     std::optional<uid_t> owner);
[[nodiscard]] std::vector<std::string> slirp4netns_command(pid_t child, const std::string& folder);

}  // namespace box
