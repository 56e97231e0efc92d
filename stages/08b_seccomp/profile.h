// Seccomp profiles in Docker's JSON format, https://docs.docker.com/engine/security/seccomp/.
#pragma once

#include <string>

#include "stages/08b_seccomp/bpf.h"
#include "stages/08b_seccomp/capability_names.h"

namespace box {

// Compiles the text of a profile, with libseccomp, for this machine and a container that has the
// capabilities `granted`: profiles have rules for those who have or lack one. Takes milliseconds.
//
// As runc does, whatever the profile: a call of an architecture that it does not name kills the
// process; calls that are newer than the newest that it names return ENOSYS, as on a kernel without
// them, so that programs do without. Our own key "newestSyscall" names that one where the rules do
// not; with it, so do the numbers below that are no call's, since the kernel may have given them to
// one after libseccomp's list was made. Docker ignores that key.
//
// Throws Failure, with the place, for a profile that does not parse or asks for what cannot be
// done: nothing that it says is left out silently, but for permissions of calls that nobody knows.
[[nodiscard]] BpfProgram compile_profile(const std::string& json, CapabilitySet granted);

// The profile's "flags" for seccomp(2): SECCOMP_FILTER_FLAG_*. Throws Failure for one that is
// unknown.
[[nodiscard]] unsigned flags_of_profile(const std::string& json);

// What the result depends on, besides: to know whether it is still good.
[[nodiscard]] std::string compiler_of_profiles();

}  // namespace box
