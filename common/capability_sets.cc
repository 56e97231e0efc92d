#include "common/capability_sets.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace box {
namespace {

// Version 3 of the calls has 64 bits in two halves. Pid 0 is the calling thread.
constexpr __user_cap_header_struct kSelf = {_LINUX_CAPABILITY_VERSION_3, 0};

std::uint64_t joined(std::uint32_t low, std::uint32_t high) {
  return std::uint64_t{high} << 32 | low;
}

}  // namespace

int get_capabilities(CapabilitySets& sets) {
  __user_cap_header_struct header = kSelf;
  __user_cap_data_struct halves[_LINUX_CAPABILITY_U32S_3] = {};
  if (syscall(SYS_capget, &header, halves) == -1) return -1;
  const auto& [low, high] = halves;
  sets = {joined(low.effective, high.effective), joined(low.permitted, high.permitted),
          joined(low.inheritable, high.inheritable)};
  return 0;
}

int set_capabilities(const CapabilitySets& sets) {
  __user_cap_header_struct header = kSelf;
  __user_cap_data_struct halves[_LINUX_CAPABILITY_U32S_3] = {};
  for (unsigned half = 0; half < _LINUX_CAPABILITY_U32S_3; ++half) {
    const auto part = [half](std::uint64_t set) {
      return static_cast<std::uint32_t>(set >> (32 * half));
    };
    halves[half] = {part(sets.effective), part(sets.permitted), part(sets.inheritable)};
  }
  return static_cast<int>(syscall(SYS_capset, &header, halves));
}

}  // namespace box
