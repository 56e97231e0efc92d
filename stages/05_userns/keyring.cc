#include "stages/05_userns/keyring.h"

#include <linux/keyctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"

namespace box {

void join_new_keyring() {
  // Before the change of user, because root may have more keyrings (kernel.keys.root_maxkeys) than
  // other users, and inside we have other ids.
  if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) != -1) {
    trace("keyctl(JOIN_SESSION_KEYRING)");
    return;
  }
  const int error = errno;
  // A kernel without keys, or a seccomp filter such as Docker's, which applies to the command, too.
  if (error == ENOSYS || error == EPERM) return;
  throw Failure(error, "keyctl(JOIN_SESSION_KEYRING)", kExitSetupFailed,
                error == EDQUOT ? "each container has a keyring, and this user has as many keys as "
                                  "kernel.keys.maxkeys allows: sudo sysctl -w "
                                  "kernel.keys.maxkeys=2000"
                                : "");
}

}  // namespace box
