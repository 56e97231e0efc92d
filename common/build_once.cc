#include "common/build_once.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <vector>

#include "common/check.h"
#include "common/interrupt.h"
#include "common/parse_number.h"
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

// The user who runs us as root by sudo(8), and may do as root what they like; otherwise our own.
uid_t user_of_sudo() {
  const char* user = geteuid() == 0 ? std::getenv("SUDO_UID") : nullptr;
  return user == nullptr ? geteuid() : parse_number<uid_t>(user).value_or(geteuid());
}

}  // namespace

std::string replaceable_part_of(const std::string& path, uid_t trusted) {
  struct stat root = {};
  struct stat st = {};
  (void)stat("/", &root);
  for (std::size_t end = 1; end != std::string::npos;) {
    end = path.find('/', end + 1);
    const std::string part = path.substr(0, end);
    if (lstat(part.c_str(), &st) == -1) break;  // not made yet, nor is what would be below it
    const bool is_trusted = st.st_uid == geteuid() || st.st_uid == 0 || st.st_uid == root.st_uid ||
                            st.st_uid == trusted;
    if (!is_trusted || (st.st_mode & (S_IWOTH | S_ISVTX)) == S_IWOTH) return part;
  }
  return "";
}

namespace {

// In a user namespace /var/cache may belong to a user who has no id there: not replaceable by
// others, but not ours, either.
bool belongs_to_somebody_else(const std::string& directory) {
  struct stat st = {};
  return stat(directory.c_str(), &st) == 0 && st.st_uid != geteuid() && st.st_uid != 0;
}

struct stat check_that_it_is_ours(const UniqueFd& directory, const std::string& path) {
  struct stat st = {};
  check_quietly(fstat(directory.get(), &st), "fstat({})", path);
  if (st.st_uid != geteuid()) {
    throw Failure(path + " belongs to another user", "remove it, or choose another place");
  }
  return st;
}

void make_private(const std::string& path) {
  const UniqueFd directory(check_quietly(
      open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC), "open({})", path));
  const struct stat st = check_that_it_is_ours(directory, path);
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    throw Failure(path + ": other users may have put something there", "remove it: rm -rf " + path);
  }
  if ((st.st_mode & 077) != 0) check_quietly(fchmod(directory.get(), 0700), "chmod({})", path);
}

void lock_directory(const UniqueFd& directory, const std::string& path) {
  if (flock(directory.get(), LOCK_EX) == 0) return;
  const int error = errno;
  throw_if_interrupted();
  throw Failure(error, "flock(" + path + ")");
}

bool is_at(const UniqueFd& directory, const std::string& path) {
  struct stat ours = {};
  struct stat there = {};
  return fstat(directory.get(), &ours) == 0 && lstat(path.c_str(), &there) == 0 &&
         ours.st_dev == there.st_dev && ours.st_ino == there.st_ino;
}

// The unfinished directory, which is removed unless it has been renamed to its final path.
//
// A lock on it keeps other processes from building the same. The kernel releases the lock when the
// process ends, see flock(2). Nobody else can hold that lock, because the directory is closed to
// other users; they can open the directory above it, which may be /tmp.
class Partial {
 public:
  explicit Partial(std::string path) : path_(std::move(path)) {
    while (true) {
      const bool made = mkdir(path_.c_str(), kUnfinished) == 0;
      if (!made && errno != EEXIST) check_quietly(-1, "mkdir({})", path_);
      try {
        if (!open_and_lock()) continue;
        for (UniqueFd& descriptor : for_removal_) {
          descriptor =
              UniqueFd(check_quietly(fcntl(folder_.get(), F_DUPFD_CLOEXEC, 3), "open({})", path_));
        }
      } catch (const Failure&) {
        // Ours, and empty unless another process has got the lock and builds in it.
        if (made) (void)rmdir(path_.c_str());
        throw;
      }
      if (made) return;
      remove();  // left by a process that was killed
    }
  }
  Partial(const Partial&) = delete;
  Partial& operator=(const Partial&) = delete;
  ~Partial() {
    try {
      if (!done_) remove();
    } catch (const Failure&) {  // the first failure is the one to report
    }
  }

  void become(const std::string& path) {
    struct stat st = {};
    check_quietly(fstat(folder_.get(), &st), "fstat({})", path_);
    if ((st.st_mode & 07777) == kUnfinished) {  // otherwise it has got its mode
      check_quietly(fchmod(folder_.get(), 0755), "chmod({})", path_);
    }
    check_quietly(rename(path_.c_str(), path.c_str()), "rename({}, {})", path_, path);
    done_ = true;
  }

 private:
  // Returns false if another process has finished or removed it in the meantime.
  bool open_and_lock() {
    folder_ = UniqueFd(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (folder_.get() == -1 && errno == ENOENT) return false;
    check_quietly(folder_.get(), "open({})", path_);
    check_that_it_is_ours(folder_, path_);  // in /tmp any user may have made it
    lock_directory(folder_, path_);
    return is_at(folder_, path_);
  }

  void remove() {
    for (UniqueFd& descriptor : for_removal_) descriptor.close();
    remove_tree(path_);
  }

  static constexpr mode_t kUnfinished = S_ISVTX | S_IRWXU;  // the mode of nothing that is built

  std::string path_;
  UniqueFd folder_;
  // remove_tree() opens as many at a time. Kept back, so that what was built in part is removed
  // even where the building has failed because the process may have no more descriptors.
  std::array<UniqueFd, 3> for_removal_;
  bool done_ = false;
};

}  // namespace

std::string cache_directory() {
  std::string why = "neither XDG_CACHE_HOME nor HOME is set";
  for (const std::string& place : places_for_caches()) {
    std::error_code ignored;  // the mkdir() below reports what is wrong
    const std::string base = fs::weakly_canonical(place, ignored);
    std::string part = replaceable_part_of(base, geteuid());
    if (part.empty()) {
      fs::create_directories(base, ignored);
      part = replaceable_part_of(base, geteuid());  // another user may have been faster
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
  const std::string part = replaceable_part_of(fs::path(path).parent_path(), user_of_sudo());
  if (!part.empty()) {
    throw Failure(path + ": another user may replace " + part,
                  "choose a place in a directory of your own");
  }
  const InterruptGuard guard;
  Partial partial(path + ".partial");
  if (is_there(path)) return;  // another process has built it while we waited
  build(path + ".partial");
  throw_if_interrupted();
  partial.become(path);
}

}  // namespace box
