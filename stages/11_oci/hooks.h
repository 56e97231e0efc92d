// Stage 11: programs of the caller's that run at certain moments, see "POSIX-platform Hooks" in the
// runtime specification.
#pragma once

#include <string>
#include <vector>

#include "stages/11_oci/config.h"

namespace box {

// Runs them one after the other, each with the container's state, as JSON, on its input. Throws
// Failure, which begins with `kind`, if one fails or does not end in time.
void run_hooks(const std::string& kind, const std::vector<Hook>& hooks, const std::string& state);

}  // namespace box
