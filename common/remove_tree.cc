#include "common/remove_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <memory>
#include <utility>
#include <vector>

#include "common/check.h"
#include "common/unique_fd.h"

namespace box {
namespace {

enum class Files { kRemove, kLeave };

// Only the current directory is open, and the way back up is "..", because a tree may be deeper
// than the number of descriptors that a process may have, and its paths longer than PATH_MAX.
class Remover {
 public:
  Remover(int folder, std::string name, Files files)
      : start_(folder), top_(std::move(name)), files_(files) {}

  void remove();

 private:
  // A directory on the way down from `start_`: the entries found in it and not removed yet.
  struct Level {
    std::string name;
    struct stat status = {};
    std::vector<std::string> folders;
  };

  UniqueFd open_level(int parent, Level& level) const;  // closed if there is no such directory
  void empty(int folder, Level& level) const;
  void remove_entry(int folder, const std::string& name, Level& level) const;
  template <typename Result>
  Result check_step(Result result) const {
    // The full path of an entry that could not be removed may be of any length.
    return check_quietly(result, "rm -rf {}", top_);
  }

  int start_;
  std::string top_;
  Files files_;
  std::vector<Level> levels_;
};

UniqueFd Remover::open_level(int parent, Level& level) const {
  constexpr int kHow = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd folder(openat(parent, level.name.c_str(), kHow));
  if (folder.get() == -1 &&
      errno == EACCES) {  // a copied directory may deny access even to its owner
    check_step(fchmodat(parent, level.name.c_str(), S_IRWXU, 0));
    folder = UniqueFd(openat(parent, level.name.c_str(), kHow));
  }
  if (folder.get() == -1 && errno == ENOENT) return folder;
  check_step(folder.get());
  check_step(fstat(folder.get(), &level.status));
  if (!levels_.empty() && level.status.st_dev != levels_.front().status.st_dev) {
    throw Failure(EXDEV, "rm -rf " + top_);
  }
  if ((level.status.st_mode & S_IRWXU) != S_IRWXU) (void)fchmod(folder.get(), S_IRWXU);
  return folder;
}

// Removes every entry that is not a directory, and notes the directories.
void Remover::empty(int folder, Level& level) const {
  const int copy = check_step(openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(fdopendir(copy), closedir);
  if (entries == nullptr) {
    (void)close(copy);
    throw Failure(ENOMEM, "rm -rf " + top_);
  }
  errno = 0;
  while (const dirent* entry = readdir(entries.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") {
      if (entry->d_type == DT_DIR) {
        level.folders.push_back(name);
      } else if (files_ == Files::kRemove || entry->d_type == DT_UNKNOWN) {
        remove_entry(folder, name, level);
      }
    }
    errno = 0;
  }
  if (errno != 0) check_step(-1);
}

void Remover::remove_entry(int folder, const std::string& name, Level& level) const {
  if (unlinkat(folder, name.c_str(), 0) == 0 || errno == ENOENT) return;
  if (errno == EISDIR) {  // a file system that does not report the types of its entries
    level.folders.push_back(name);
  } else if (files_ == Files::kRemove) {
    check_step(-1);
  }
}

void Remover::remove() {
  // Removing an empty directory needs neither descriptors nor memory, of which there may be none
  // left.
  if (unlinkat(start_, top_.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) return;
  if (errno == ENOTDIR) {
    if (unlinkat(start_, top_.c_str(), 0) == -1 && errno != ENOENT) check_step(-1);
    return;
  }
  Level top = {top_, {}, {}};
  UniqueFd here = open_level(start_, top);
  if (here.get() == -1) return;
  empty(here.get(), top);
  levels_.push_back(std::move(top));
  while (true) {
    Level& level = levels_.back();
    if (!level.folders.empty()) {
      Level next = {std::move(level.folders.back()), {}, {}};
      level.folders.pop_back();
      if (unlinkat(here.get(), next.name.c_str(), AT_REMOVEDIR) == 0 || errno == ENOENT) continue;
      UniqueFd below = open_level(here.get(), next);
      if (below.get() == -1) continue;
      empty(below.get(), next);
      here = std::move(below);
      levels_.push_back(std::move(next));
      continue;
    }
    const std::string name = std::move(level.name);
    levels_.pop_back();
    if (levels_.empty()) break;
    UniqueFd above(check_step(openat(here.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    struct stat status = {};
    check_step(fstat(above.get(), &status));
    const struct stat& before = levels_.back().status;
    if (status.st_ino != before.st_ino || status.st_dev != before.st_dev) {
      throw Failure(ESTALE,
                    "rm -rf " + top_);  // another process has moved the directory that we are in
    }
    here = std::move(above);
    check_step(unlinkat(here.get(), name.c_str(), AT_REMOVEDIR));
  }
  here.close();
  check_step(unlinkat(start_, top_.c_str(), AT_REMOVEDIR));
}

}  // namespace

void remove_tree(const std::string& path) { Remover(AT_FDCWD, path, Files::kRemove).remove(); }

void remove_tree_at(int folder, const std::string& name) {
  Remover(folder, name, Files::kRemove).remove();
}

void remove_directories(const std::string& path) { remove_directories_at(AT_FDCWD, path); }

void remove_directories_at(int folder, const std::string& name) {
  Remover(folder, name, Files::kLeave).remove();
}

}  // namespace box
