// Options that a stage does not have, but that its user may know from elsewhere.
#pragma once

#include <string>

namespace box {

// Returns what to do instead of `option`, as typed ("--memory", "-d", "--name=x"), for an option of
// a later stage or of docker run(1); "" for any other word.
[[nodiscard]] std::string instead_of(const std::string& option);

}  // namespace box
