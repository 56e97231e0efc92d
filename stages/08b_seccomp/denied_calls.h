// Reports which system calls the filter denies, so that a user sees why a program fails.
#pragma once

#include <sys/types.h>

#include "common/fd_channel.h"
#include "stages/08b_seccomp/bpf.h"

namespace box {

// With --verbose: a reporter, a process beside the parent, to which the kernel sends each call that
// `program` denies with an errno, see seccomp_unotify(2). The reporter writes a line, and lets the
// call fail with that errno. It never lets a call pass, and if it is killed, such calls fail with
// ENOSYS, and the destructor says so. It ends with this object, or with the parent. Without
// --verbose there is no reporter.
class DeniedCalls {
 public:
  explicit DeniedCalls(const BpfProgram& program);
  ~DeniedCalls();
  DeniedCalls(const DeniedCalls&) = delete;
  DeniedCalls& operator=(const DeniedCalls&) = delete;

  [[nodiscard]] bool are_reported() const { return reporter_ > 0; }

  // In the child: passes the filter's listener to the reporter.
  void send_to_reporter(int listener) const;
  // The descriptor that the child needs for that; -1 if denied calls are not reported.
  [[nodiscard]] int descriptor() const { return channel_.get(); }

 private:
  FdChannel channel_;
  pid_t reporter_ = -1;
};

// Returns `program`, changed so that it asks the listener instead of returning an errno. ENOSYS
// stays: it means that the kernel has no such call, which is not worth reporting.
[[nodiscard]] BpfProgram with_listener(BpfProgram program);

}  // namespace box
