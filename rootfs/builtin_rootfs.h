// The root file system that comes with the stages: busybox and a few files under /etc.
#pragma once

#include <string>

namespace box {

// Returns its directory; it is unpacked there at this user's first call, and again after it has
// changed. It is kept, so each container finds what earlier ones have written into it. `cache` is
// the directory that contains it, "" for cache_directory(); stages that only read it use one of
// their own.
std::string builtin_rootfs(const std::string& cache = "");

}  // namespace box
