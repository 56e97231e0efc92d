// Stage 06: a place in the container's root for a mount.
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace box {

// In the child: opens (O_PATH) `path` in the directory `root`, the container's. Missing parts are
// made: directories on the way, and at the end a directory or an empty file. As with docker run, a
// symbolic link in `path` leads to its target in the container, even if the target does not exist
// yet. Throws Failure for /, for /dev and for paths in /proc or /sys, whatever link leads there,
// and for a file where a directory is to be mounted.
[[nodiscard]] UniqueFd make_mount_point(const UniqueFd& root, const std::string& path,
                                        bool directory);

// The same, but nothing is refused because of the place that `path` leads to, not even /.
[[nodiscard]] UniqueFd make_place_for_mount(const UniqueFd& root, const std::string& path,
                                            bool directory);

// The mount point /proc, /sys or /dev. Throws Failure if a hostile root has a symbolic link there,
// because we would then hide files elsewhere instead of those below /proc.
[[nodiscard]] UniqueFd make_real_directory(const UniqueFd& root, const std::string& name);

[[nodiscard]] bool is_directory(int fd);

}  // namespace box
