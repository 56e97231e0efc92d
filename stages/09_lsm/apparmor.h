// AppArmor: a profile, chosen by its name, says what a program may do, see apparmor(7).
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace box {

// The profile in containers.apparmor.
inline constexpr const char* kDefaultProfile = "containers-under-the-hood";

[[nodiscard]] bool has_apparmor();

// Whether the kernel's list of profiles has this one, or cannot be seen: to ask for one that is not
// loaded leaves a line about it in the kernel's log.
[[nodiscard]] bool may_be_loaded(const std::string& profile);

// Whether the kernel would let this process change to the profile: 0; ENOENT if none of that name
// is loaded; or another errno. Nothing is changed.
[[nodiscard]] int test_profile(const std::string& profile);

// Returns what confines this process itself, such as "unconfined".
[[nodiscard]] std::string own_profile();

// In the child: from its next execve(2) on it has this profile, which no process can leave. `proc`
// is the container's /proc.
void change_profile_at_exec(const UniqueFd& proc, const std::string& profile);

}  // namespace box
