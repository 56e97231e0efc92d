// Makes the kernel refuse some system calls, to see what a program does when its set-up fails.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "common/unique_fd.h"

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

// As refuse(), but each such call waits until the holder of the returned descriptor has decided,
// see seccomp_unotify(2).
[[nodiscard]] UniqueFd ask_before(const std::vector<Refusal>& refusals);

// The calls of one program and its descendants, of which one is refused. In the agent.
class NthCall {
 public:
  // Refuses the `nth` call, counted from 1, of those called `name`, see calls(). 0: none.
  NthCall(UniqueFd listener, std::string name, int nth)
      : listener_(std::move(listener)), name_(std::move(name)), nth_(nth) {}

  // Decides about all calls that wait. Does not wait itself.
  void decide();
  // -1 when no process is left whose calls could be refused.
  [[nodiscard]] int get() const { return listener_.get(); }
  // The names of all calls up to now, such as "mount", or "prctl(24)" with the first argument.
  [[nodiscard]] const std::vector<std::string>& calls() const { return calls_; }

 private:
  UniqueFd listener_;
  std::string name_;
  int nth_;
  std::vector<std::string> calls_;
};

}  // namespace box
