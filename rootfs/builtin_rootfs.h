// The root file system that comes with the stages: busybox and a few files under /etc.
#pragma once

#include <string>

namespace box {

// The folder that holds it; unpacked there at the first call of this user, and again when it has
// changed. It stays: what a container writes into it, the next one finds. `cache` is the folder in
// which it is, "" for cache_directory(): those who only read it have one of their own.
std::string builtin_rootfs(const std::string& cache = "");

}  // namespace box
