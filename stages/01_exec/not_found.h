// Why execve(2) failed. Its "No such file or directory" misleads every newcomer once.
#pragma once

#include <string>

#include "common/failure.h"

namespace box {

// In the child, after exec failed with `error`: the exit status is 127 if the command does not
// exist, and 126 if it exists but cannot be executed; the message names the missing file. That may
// be the command's loader or interpreter: execve(2) returns ENOENT for these as well.
[[nodiscard]] Failure exec_failure(const std::string& command, int error);

}  // namespace box
