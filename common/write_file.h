// Writes the kernel's files under /proc and /sys.
#pragma once

#include <string>
#include <string_view>

namespace box {

// One open, one write: such a file acts on each write(2), and write(2) returns the outcome.
void write_file(const std::string& path, std::string_view text);

}  // namespace box
