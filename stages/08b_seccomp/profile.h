// Seccomp profiles in Docker's JSON format, https://docs.docker.com/engine/security/seccomp/.
#pragma once

#include <string>

#include "stages/08b_seccomp/bpf.h"
#include "stages/08b_seccomp/capability_names.h"

namespace box {

// A process that decides on single calls, see seccomp_unotify(2).
enum class Supervisor { kNone, kIsThere };

// Compiles the text of a profile, with libseccomp, for this machine and a container that has the
// capabilities `granted`: profiles have rules that depend on a capability. Takes milliseconds.
//
// For every profile, as in runc, a call of an architecture that the profile does not name kills the
// process; calls that are newer than the newest one that the profile names return ENOSYS, as on a
// kernel without them, so that programs fall back. Our own key "newestSyscall" names that newest
// call if the rules do not; with it, lower numbers that libseccomp does not know return ENOSYS,
// too, because the kernel may have assigned them after libseccomp's list was made. Docker ignores
// that key.
//
// SCMP_ACT_NOTIFY is refused unless there is a supervisor.
//
// Throws Failure, with the place, for a profile that does not parse or that asks for something
// unsupported: no part of it is ignored silently, except permissions for unknown calls.
[[nodiscard]] BpfProgram compile_profile(const std::string& json, CapabilitySet granted,
                                         Supervisor supervisor = Supervisor::kNone);

// Returns the profile's "flags" for seccomp(2): SECCOMP_FILTER_FLAG_*. Throws Failure for an
// unknown one.
[[nodiscard]] unsigned flags_of_profile(const std::string& json);

// The versions that the result also depends on, to decide whether a cached result is still valid.
[[nodiscard]] std::string compiler_of_profiles();

}  // namespace box
