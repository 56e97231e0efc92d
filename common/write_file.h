// Writes files: the kernel's under /proc and /sys, and others.
#pragma once

#include <string>
#include <string_view>

namespace box {

// One open, one write: such a file acts on each write(2), and write(2) returns the outcome.
void write_file(const std::string& path, std::string_view text);

// All of `text` into another file, a pipe or a socket that blocks. write(2) may write less, for
// example on a disk that is nearly full, and only the next one fails. `what` names it in the
// Failure.
void write_all(int fd, std::string_view text, std::string_view what);

}  // namespace box
