// Which descriptors are open.
#pragma once

#include <vector>

namespace box {

// Closes all descriptors but 0, 1, 2 and those in `needed`. The child calls it before it looks up a
// path of the container, because as long as a file of the host is open it has a name in
// /proc/self/fd.
void close_all_but(std::vector<int> needed);

}  // namespace box
