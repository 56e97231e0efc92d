// Lets long work in the parent (copying, unpacking) stop on Ctrl-C and clean up after itself.
#pragma once

#include <signal.h>

namespace box {

// While this object exists, SIGINT, SIGTERM and SIGHUP are noted instead of ending this process,
// and they interrupt a system call that waits. Signals that were ignored stay ignored, see
// nohup(1).
class InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  struct sigaction before_[3];
};

// Throws Failure "interrupted" with exit status 128+n if signal n has come.
void throw_if_interrupted();

}  // namespace box
