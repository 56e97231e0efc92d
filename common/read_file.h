// Reads the kernel's files under /proc and /sys.
#pragma once

#include <limits>
#include <string>

namespace box {

// Returns all of the file's text, or "" if it cannot be opened, for instance because the kernel
// does not have it. Throws Failure if it can be opened but not read.
[[nodiscard]] std::string read_file(const std::string& path);

// The same for a file that decides how much a container may do: returns "" only if there is no such
// file, and throws Failure for any other reason why it cannot be opened.
[[nodiscard]] std::string read_file_if_there(const std::string& path);

// Whether there is a file of this name. Throws Failure if the kernel does not say.
[[nodiscard]] bool file_exists(const std::string& path);

// The same as read_file() for a file that is open. Stops once it has read more than `most` bytes.
[[nodiscard]] std::string read_to_end(int file, const std::string& path,
                                      std::size_t most = std::numeric_limits<std::size_t>::max());

}  // namespace box
