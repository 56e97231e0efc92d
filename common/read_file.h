// Reading the kernel's files under /proc and /sys.
#pragma once

#include <string>

namespace box {

// All of the file's text; "" if it cannot be opened, as where a kernel does not have it. Throws
// Failure if it can, and cannot be read.
[[nodiscard]] std::string read_file(const std::string& path);

}  // namespace box
