// Whether a file system supports extended attributes in the namespace user.*, see xattr(7).
#pragma once

#include "common/unique_fd.h"

namespace box {

// Tries it on the open file or directory. If the file system does not support them, errno is set to
// the reason.
[[nodiscard]] bool keeps_user_attributes(const UniqueFd& file);

// Since Linux 6.6, see tmpfs(5).
[[nodiscard]] bool tmpfs_keeps_user_attributes();

}  // namespace box
