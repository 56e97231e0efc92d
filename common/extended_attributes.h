// Whether a file system keeps extended attributes in the namespace user.*, see xattr(7).
#pragma once

#include "common/unique_fd.h"

namespace box {

// Tries it with the open file or folder. If it does not, errno says why.
[[nodiscard]] bool keeps_user_attributes(const UniqueFd& file);

// Since Linux 6.6, see tmpfs(5).
[[nodiscard]] bool tmpfs_keeps_user_attributes();

}  // namespace box
