#include "common/build_once.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include "common/check.h"
#include "common/interrupt.h"
#include "common/remove_tree.h"
#include "common/unique_fd.h"

namespace box {
namespace {

namespace fs = std::filesystem;

bool is_there(const std::string& path) {
  struct stat st;
  return lstat(path.c_str(), &st) == 0;
}

// A lock on the parent directory needs no lock file that would have to be removed again, and the
// kernel releases it with the process, see flock(2).
UniqueFd lock_directory(const std::string& path) {
  UniqueFd fd(
      check_quietly(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open({})", path));
  if (flock(fd.get(), LOCK_EX) == -1) {
    const int error = errno;
    throw_if_interrupted();
    throw Failure(error, "flock(" + path + ")");
  }
  return fd;
}

// Removes what was built so far, unless it has become what it should.
class Partial {
 public:
  explicit Partial(std::string path) : path_(std::move(path)) {
    remove_tree(path_);  // what a killed process left
    check_quietly(mkdir(path_.c_str(), 0755), "mkdir({})", path_);
    check_quietly(chmod(path_.c_str(), 0755), "chmod({})", path_);  // mkdir() obeys the umask
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;
  ~Partial() {
    try {
      if (!done_) remove_tree(path_);
    } catch (const Failure&) {  // the first failure is the one to report
    }
  }

  void become(const std::string& path) {
    check_quietly(rename(path_.c_str(), path.c_str()), "rename({}, {})", path_, path);
    done_ = true;
  }

 private:
  std::string path_;
  bool done_ = false;
};

}  // namespace

std::string cache_directory() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  std::string base;
  // Root of a user namespace may not write there, see user_namespaces(7).
  if (geteuid() == 0 && access("/var/cache", W_OK) == 0) {
    base = "/var/cache";
  } else if (cache != nullptr && *cache == '/') {
    base = cache;
  } else if (home != nullptr && *home == '/') {
    base = std::string(home) + "/.cache";
  } else {
    throw Failure("there is no $HOME to keep the built-in root file system in",
                  "set HOME, or choose another root with --rootfs DIR");
  }
  const std::string path = base + "/containers-under-the-hood";
  std::error_code error;
  fs::create_directories(path, error);
  if (error) throw Failure(error.value(), "mkdir(" + path + ")");
  return path;
}

void build_once(const std::string& path, const std::function<void(const std::string&)>& build) {
  if (is_there(path)) return;
  const InterruptGuard guard;
  const UniqueFd lock = lock_directory(fs::path(path).parent_path());
  if (is_there(path)) return;  // another process has built it while we waited
  Partial partial(path + ".partial");
  build(path + ".partial");
  throw_if_interrupted();
  partial.become(path);
}

}  // namespace box
