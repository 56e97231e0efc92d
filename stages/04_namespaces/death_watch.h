// Ends a container whose parent was killed.
#pragma once

#include <sys/types.h>

#include "stages/01_exec/companion.h"

namespace box {

// In the parent, while the container runs: a process beside us that kills `container` as soon as we
// have ended without ending the container, even if SIGKILL ended us.
//
// die_with() asks the kernel to do that by prctl(PR_SET_PDEATHSIG), but the command can revoke it
// by the same call. This process is out of the container's reach: it is in another PID namespace,
// session and process group.
class DeathWatch {
 public:
  // `companion`, if there is one, is tidied up after.
  explicit DeathWatch(pid_t container, Companion* companion = nullptr);
  ~DeathWatch();
  DeathWatch(const DeathWatch&) = delete;
  DeathWatch& operator=(const DeathWatch&) = delete;

 private:
  pid_t watcher_;
};

}  // namespace box
