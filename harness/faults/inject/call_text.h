// Names of system calls, and their arguments as text, so that a reader recognizes a call in a log.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace box {

// "openat"; "call_500" if libseccomp does not know it.
std::string call_name(std::uint64_t number);
// The call's number; throws Failure if there is none of this name on this machine.
int call_number(const std::string& name);

// The most informative arguments, on one line: "AT_FDCWD /etc/hosts 0x80000".
std::string call_text(pid_t process, const std::string& name, const std::uint64_t* arguments);

}  // namespace box
