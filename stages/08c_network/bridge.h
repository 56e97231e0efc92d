// As root: a bridge, and a veth pair from it to each container, see veth(4).
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "stages/08c_network/address_pool.h"
#include "stages/08c_network/janitor.h"

namespace box {

// Throws Failure, with a hint, if this caller or this host cannot have a bridge.
void check_that_a_bridge_is_possible();

// The hosts(5) file that all containers at the bridge share, so that those started earlier can
// resolve the names of later ones.
[[nodiscard]] std::string shared_hosts_file();

// In the parent, while the child waits: connects the network namespace of `child` to the bridge,
// with the name and the ports of `container`, and chooses its number. `sockets` are those of
// reserve(). The janitor removes the container's link and, after the last container, everything
// else.
[[nodiscard]] std::unique_ptr<Janitor> join_bridge(pid_t child, Container container,
                                                   std::vector<UniqueFd> sockets);

}  // namespace box
