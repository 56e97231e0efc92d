// The sets of capabilities of the calling thread, see capabilities(7). In each set, capability
// number N is the bit 1 << N.
#pragma once

#include <cstdint>

namespace box {

struct CapabilitySets {
  std::uint64_t effective = 0;
  std::uint64_t permitted = 0;
  std::uint64_t inheritable = 0;
};

// capget(2) and capset(2), for which glibc has no wrappers. Both return 0; or -1, with errno set.
int get_capabilities(CapabilitySets& sets);
int set_capabilities(const CapabilitySets& sets);

}  // namespace box
