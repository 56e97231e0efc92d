// Makes the kernel refuse some system calls, to see what a program does when its set-up fails.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace box {

// A call that fails with `error`: always, or if one of its arguments has a bit of `any_of`, or is
// `equals`.
struct Refusal {
  std::string call;
  int argument = -1;
  std::uint32_t any_of = 0;
  std::uint32_t equals = 0;
  int error = 1;
};

// In a child that is about to execute a program. The filter cannot be removed again, see
// seccomp(2); the program and all its descendants inherit it.
void refuse(const std::vector<Refusal>& refusals);

}  // namespace box
