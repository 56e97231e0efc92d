// Why this machine does not let us create a user namespace.
#pragma once

#include <string>

#include "common/failure.h"

namespace box {

// In the parent. Checks the machine's settings: the sysctls, AppArmor's restriction, a chroot, a
// /proc that is partly covered. Returns "" if none of them explains the failure.
[[nodiscard]] std::string user_namespace_hint(const Failure& failure);

}  // namespace box
