// Where the helper programs are: nft, pasta, slirp4netns.
#pragma once

#include <string>

namespace box {

// The path of the program `name`, or "" if it is not installed. Looked for in PATH and in the
// administrator's folders, which are not in everybody's: after su(1), not in root's either.
[[nodiscard]] std::string find_program(const std::string& name);

}  // namespace box
