// Stage 06: which processes wait for what is typed.
#pragma once

#include <sys/types.h>

namespace box {

// In the parent: whether `process`, or one that descends from it, waits in read(2), poll(2) or
// select(2) for what is typed at its terminal. The master of a terminal does not tell;
// /proc/PID/syscall does, see proc_pid_syscall(5), and we may read it because the container's user
// namespace is ours. Where it does not tell, the answer is no.
[[nodiscard]] bool reads_terminal(pid_t process);

}  // namespace box
