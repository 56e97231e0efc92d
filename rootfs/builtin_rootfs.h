// The root file system that comes with the stages: busybox and a few files under /etc.
#pragma once

#include <string>

namespace box {

// The folder that holds it; unpacked there at the first call of this user, and again when it has
// changed. It stays: what a container writes into it, the next one finds.
std::string builtin_rootfs();

}  // namespace box
