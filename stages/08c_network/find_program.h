// Where the helper programs are: nft, pasta, slirp4netns.
#pragma once

#include <string>

namespace box {

// Returns the path of the program `name`, or "" if it is not installed. Searches PATH and the sbin
// directories, which are not in every user's PATH, nor in root's after su(1).
[[nodiscard]] std::string find_program(const std::string& name);

}  // namespace box
