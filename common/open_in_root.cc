#include "common/open_in_root.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "common/check.h"

namespace box {

int open_in_root(int root, const std::string& path, int flags, std::uint64_t resolve) {
  open_how how = {};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | resolve;
  // EAGAIN: another process renamed a directory while the kernel followed a "..", see openat2(2).
  constexpr int kAttempts = 100;
  int fd = -1;
  for (int i = 0; i < kAttempts; ++i) {
    fd = static_cast<int>(syscall(SYS_openat2, root, path.c_str(), &how, sizeof how));
    if (fd != -1 || errno != EAGAIN) break;
  }
  return fd;
}

UniqueFd open_resolved(const std::string& path, int flags) {
  open_how how = {};
  how.flags = static_cast<std::uint64_t>(flags) | O_CLOEXEC;
  how.resolve = RESOLVE_NO_SYMLINKS;
  return UniqueFd(static_cast<int>(check_quietly(
      syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how), "open({})", path)));
}

UniqueFd make_directories_in_root(int root, const std::string& path) {
  constexpr int kFlags = O_PATH | O_DIRECTORY;
  UniqueFd directory(open_in_root(root, path, kFlags));
  if (directory.get() != -1) return directory;

  directory = UniqueFd(check_quietly(open_in_root(root, "/", kFlags), "open(the root, O_PATH)"));
  std::string reached;
  for (const auto& part : std::filesystem::path(path).relative_path()) {
    if (part.empty()) continue;  // after a slash at the end
    reached += "/" + part.string();
    UniqueFd next(open_in_root(root, reached, kFlags));
    if (next.get() == -1 && errno == ENOENT) {
      // In the directory that we have open: a link that another process puts on the way cannot lead
      // elsewhere.
      check(mkdirat(directory.get(), part.c_str(), 0755), "mkdir({})", reached);
      next = UniqueFd(open_in_root(root, reached, kFlags));
    }
    check_quietly(next.get(), "open({})", reached);
    directory = std::move(next);
  }
  return directory;
}

}  // namespace box
