// A kernel that refuses some system calls: what becomes of a program whose set-up fails?
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

// In a child that is about to execute a program. Nobody can take it off again, see seccomp(2); the
// program inherits it, and so do all of its children.
void refuse(const std::vector<Refusal>& refusals);

}  // namespace box
