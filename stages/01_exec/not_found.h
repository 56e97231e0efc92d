// Why execve(2) failed. Its "No such file or directory" has misled every newcomer once.
#pragma once

#include <string>

#include "common/failure.h"

namespace box {

// In the child, after exec failed with `error`: exit status 127 when the command is not there, 126
// when it is there but cannot be executed; the message says which file is missing. That may be the
// command's loader or interpreter: execve(2) reports ENOENT for these as well.
[[nodiscard]] Failure exec_failure(const std::string& command, int error);

}  // namespace box
