// Tells which system calls the filter denies, so that one sees why a program fails.
#pragma once

#include <sys/types.h>

#include "common/unique_fd.h"
#include "stages/08b_seccomp/bpf.h"

namespace box {

// With --verbose: a reporter, a process beside the parent, to which the kernel sends each call that
// `program` denies with an errno, see seccomp_unotify(2). It writes a line, and lets the call fail
// with that errno. More it cannot do: it never lets a call pass, and if it dies, they fail with
// ENOSYS. It ends with this object, or with the parent. Without --verbose there is none.
class DeniedCalls {
 public:
  explicit DeniedCalls(const BpfProgram& program);
  ~DeniedCalls();
  DeniedCalls(const DeniedCalls&) = delete;
  DeniedCalls& operator=(const DeniedCalls&) = delete;

  [[nodiscard]] bool are_reported() const { return reporter_ > 0; }

  // In the child: gives the filter's listener to the reporter.
  void send_to_reporter(int listener) const;
  // What the child needs for that; -1 if they are not reported.
  [[nodiscard]] int descriptor() const { return socket_.get(); }

 private:
  UniqueFd socket_;
  pid_t reporter_ = -1;
};

// `program`, but instead of an errno it answers: ask the listener. What says ENOSYS still does: as
// if the kernel had no such call, which is nothing to tell.
[[nodiscard]] BpfProgram with_listener(BpfProgram program);

}  // namespace box
