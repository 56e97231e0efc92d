// Stage 06: which processes wait for keys.
#pragma once

#include <sys/types.h>

namespace box {

// In the parent: whether `process`, or one that descends from it, waits in read(2), poll(2) or
// select(2) for keys from its terminal. The master of a terminal does not report that, but
// /proc/PID/syscall does, see proc_pid_syscall(5), and we may read it because we made the
// container's user namespace. Returns false if it cannot be read.
[[nodiscard]] bool reads_terminal(pid_t process);

}  // namespace box
