#include "common/build_once.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

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

// The directories that may hold the cache, best first.
std::vector<std::string> places_for_caches() {
  std::vector<std::string> places;
  const char* cache = std::getenv("XDG_CACHE_HOME");
  const char* home = std::getenv("HOME");
  if (cache != nullptr && *cache == '/') places.emplace_back(cache);
  // Under sudo, $HOME may still be the user's, and must not fill up with files that belong to root.
  if (geteuid() == 0) places.emplace_back("/var/cache");
  if (home != nullptr && *home == '/') places.push_back(std::string(home) + "/.cache");
  return places;
}

// Returns the part of `path`, which contains no links, that another user could replace, and with it
// the cache; "" if there is none. The owner of / could do so anyway; in a user namespace that is
// not always user 0. In a sticky directory users can replace only what is theirs, see inode(7).
std::string replaceable_part_of(const std::string& path) {
  struct stat root = {};
  struct stat st = {};
  (void)stat("/", &root);
  for (std::size_t end = 1; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string part = path.substr(0, end);
    if (lstat(part.c_str(), &st) == -1) break;  // not made yet, nor is what would be below it
    const bool trusted = st.st_uid == geteuid() || st.st_uid == 0 || st.st_uid == root.st_uid;
    if (!trusted || (st.st_mode & (S_IWOTH | S_ISVTX)) == S_IWOTH) return part;
  }
  return "";
}

// In a user namespace /var/cache may belong to a user who has no id there: not replaceable by
// others, but not ours, either.
bool belongs_to_somebody_else(const std::string& directory) {
  struct stat st = {};
  return stat(directory.c_str(), &st) == 0 && st.st_uid != geteuid() && st.st_uid != 0;
}

void make_private(const std::string& path) {
  const UniqueFd directory(check_quietly(
      open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), "open({})", path));
  struct stat st = {};
  check_quietly(fstat(directory.get(), &st), "fstat({})", path);
  if (st.st_uid != geteuid()) {
    throw Failure(path + " belongs to another user", "remove it, or set XDG_CACHE_HOME");
  }
  if ((st.st_mode & 077) != 0) check_quietly(fchmod(directory.get(), 0700), "chmod({})", path);
}

// A lock on the parent directory needs no lock file, which would have to be removed again, and the
// kernel releases it when the process ends, see flock(2).
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

// Removes the unfinished directory, unless it has been renamed to its final path.
class Partial {
 public:
  explicit Partial(std::string path) : path_(std::move(path)) {
    remove_tree(path_);  // left by a process that was killed
    check_quietly(mkdir(path_.c_str(), 0755), "mkdir({})", path_);
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
  std::string why = "neither XDG_CACHE_HOME nor HOME is set";
  for (const std::string& place : places_for_caches()) {
    std::error_code ignored;  // the mkdir() below reports what is wrong
    const std::string base = fs::weakly_canonical(place, ignored);
    std::string part = replaceable_part_of(base);
    if (part.empty()) {
      fs::create_directories(base, ignored);
      part = replaceable_part_of(base);  // another user may have been faster
    }
    const std::string path = base + "/containers-under-the-hood";
    if (!part.empty()) {
      why = "another user may replace " + part;
    } else if (belongs_to_somebody_else(base)) {
      why = base + " belongs to another user";
    } else if (mkdir(path.c_str(), 0700) == -1 && errno != EEXIST) {
      why = Failure(errno, "mkdir(" + path + ")").what();
    } else {
      make_private(path);
      return path;
    }
  }
  throw Failure("there is no directory for the container's root file system: " + why,
                "set XDG_CACHE_HOME to a directory of your own, or choose a root with --rootfs"
                " DIR");
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
