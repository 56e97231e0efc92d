// Tells which system calls the filter denies, so that one sees why a program fails.
#pragma once

#include <sys/types.h>

#include "common/unique_fd.h"
#include "stages/08b_seccomp/bpf.h"

namespace box {

// With --verbose: a process beside the parent, to which the kernel sends each call that `program`
// denies with an errno, see seccomp_unotify(2). It writes a line, and lets the call fail with that
// errno. More it cannot do: it never lets a call pass, and should it die, they fail with ENOSYS. It
// ends with this object, or with the parent. Without --verbose there is none.
class DeniedCalls {
 public:
  explicit DeniedCalls(const BpfProgram& program);
  ~DeniedCalls();
  DeniedCalls(const DeniedCalls&) = delete;
  DeniedCalls& operator=(const DeniedCalls&) = delete;

  [[nodiscard]] bool are_told() const { return teller_ > 0; }

  // In the child: `listener`, of the filter, is for that process.
  void tell(int listener) const;

 private:
  UniqueFd to_teller_;
  pid_t teller_ = -1;
};

// `program`, but instead of an errno it answers: ask the listener. What says ENOSYS still does: as
// if the kernel had no such call, which is nothing to tell.
[[nodiscard]] BpfProgram with_listener(BpfProgram program);

}  // namespace box
