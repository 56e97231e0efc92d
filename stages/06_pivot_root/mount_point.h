// Stage 06: a place in the container's root for a mount.
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace box {

// In the child: opens (O_PATH) what is at `path` in the directory `root`, which is the container's.
// What is missing is made: folders on the way, and at the end a folder or an empty file. As in
// docker run a symbolic link in `path` leads to its place in the container, also if nothing is
// there yet. Throws Failure for /, /dev and what is in /proc or /sys, whatever link leads there,
// and for a file where a folder is to be mounted.
[[nodiscard]] UniqueFd make_mount_point(const UniqueFd& root, const std::string& path,
                                        bool directory);

// /proc, /sys or /dev. Where a hostile root has a symbolic link there, Failure is thrown: what we
// hide below /proc would be hidden elsewhere.
[[nodiscard]] UniqueFd make_real_directory(const UniqueFd& root, const std::string& name);

[[nodiscard]] bool is_directory(int fd);

}  // namespace box
