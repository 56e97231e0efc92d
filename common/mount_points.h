// The mounts of this process's mount namespace, see proc_pid_mountinfo(5).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace box {

// The mount points below our root directory, in the order in which they were mounted.
[[nodiscard]] std::vector<std::string> mount_points();

// The fields of a line, between single spaces: other white space, such as a carriage return, may be
// part of a path.
[[nodiscard]] std::vector<std::string> mount_fields(std::string_view line);

// Decodes a path as the kernel writes it there: a space is "\040", a tab "\011", a line feed "\012"
// and a backslash "\134".
[[nodiscard]] std::string decode_path(std::string_view text);

// Whether `path` is `folder` or is below it.
[[nodiscard]] bool is_in(std::string_view path, std::string_view folder);

}  // namespace box
