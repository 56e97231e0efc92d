// Which descriptors are open.
#pragma once

#include <vector>

namespace box {

// Closes all but 0, 1, 2 and those in `needed`. In the child, before a path of the container's is
// looked up: what it took from the host has a name in /proc/self/fd as long as it is open.
void close_all_but(std::vector<int> needed);

}  // namespace box
