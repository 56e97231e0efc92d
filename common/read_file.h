// Reading the kernel's files under /proc and /sys.
#pragma once

#include <string>

namespace box {

// All of the file's text; "" if it cannot be opened, as where a kernel does not have it. Throws
// Failure if it can, and cannot be read.
[[nodiscard]] std::string read_file(const std::string& path);

// The same for what decides how much a container may do: "" only if there is no such file. Any
// other reason why it cannot be opened is a Failure, too.
[[nodiscard]] std::string read_file_if_there(const std::string& path);

}  // namespace box
