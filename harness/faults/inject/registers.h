// The registers with the arguments of a system call, of a process that ptrace(2) has stopped.
#pragma once

#include <sys/types.h>

namespace box {

// At the entry: the kernel makes no call, because there is none with this number.
void skip_call(pid_t process);
// At the exit.
void set_result(pid_t process, long result);
enum class Argument { kFirst, kThird };

// Returns what it was.
unsigned long exchange_argument(pid_t process, Argument argument, unsigned long value);

}  // namespace box
