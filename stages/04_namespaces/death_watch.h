// Ends a container whose parent was killed.
#pragma once

#include <sys/types.h>

namespace box {

// In the parent, while the container runs: a process beside us that kills `container` as soon as we
// have ended without having ended it, even by SIGKILL.
//
// die_with() has the kernel do that, but what it has asked for by prctl(PR_SET_PDEATHSIG) the
// command can revoke by the same call. This process is out of the container's reach: it has another
// PID namespace, session and process group.
class DeathWatch {
 public:
  explicit DeathWatch(pid_t container);
  ~DeathWatch();
  DeathWatch(const DeathWatch&) = delete;
  DeathWatch& operator=(const DeathWatch&) = delete;

 private:
  pid_t watcher_;
};

}  // namespace box
