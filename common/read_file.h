// Reads the kernel's files under /proc and /sys.
#pragma once

#include <string>

namespace box {

// Returns all of the file's text, or "" if it cannot be opened, for instance because the kernel
// does not have it. Throws Failure if it can be opened but not read.
[[nodiscard]] std::string read_file(const std::string& path);

// The same for a file that decides how much a container may do: returns "" only if there is no such
// file, and throws Failure for any other reason why it cannot be opened.
[[nodiscard]] std::string read_file_if_there(const std::string& path);

}  // namespace box
