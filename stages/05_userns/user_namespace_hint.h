// Why this machine does not let us have a user namespace.
#pragma once

#include <string>

#include "common/failure.h"

namespace box {

// In the parent. Looks at the machine's settings: the sysctls, AppArmor's restriction, a chroot, a
// /proc that is covered in part. "" if none of them explains the failure.
[[nodiscard]] std::string user_namespace_hint(const Failure& failure);

}  // namespace box
