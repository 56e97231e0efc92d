// Opens a path as a process with a given root directory would.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "common/unique_fd.h"

namespace box {

// openat2(2) with RESOLVE_IN_ROOT: an absolute path, a ".." and a symbolic link stay in the
// directory `root`, even if another process replaces a link in the middle of the lookup. With
// RESOLVE_NO_MAGICLINKS, too: /proc/self/fd/4 and /proc/1/root, which lead to an open file instead
// of a path, are refused (ELOOP). `resolve` adds to these two; O_CLOEXEC is added to `flags`.
//
// Returns the descriptor, or -1 and errno, as openat2(2) does.
[[nodiscard]] int open_in_root(int root, const std::string& path, int flags,
                               std::uint64_t resolve = 0);

// Opens a path of the host that has been resolved already: a link in it now is one that somebody
// has put there since, and could lead anywhere. O_CLOEXEC is added to `flags`. Throws Failure.
[[nodiscard]] UniqueFd open_resolved(const std::string& path, int flags);

// mkdir -p in `root`: makes the directory `path`, and those on the way to it, with mode 0755 (umask
// permitting). Returns an O_PATH descriptor of it. Throws Failure.
UniqueFd make_directories_in_root(int root, const std::string& path);

}  // namespace box
