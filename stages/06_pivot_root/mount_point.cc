#include "stages/06_pivot_root/mount_point.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <sstream>
#include <vector>

#include "common/check.h"
#include "common/mount_points.h"
#include "common/open_in_root.h"

namespace box {
namespace {

mode_t type_of(int fd) {
  struct stat st = {};
  check_quietly(fstat(fd, &st), "fstat()");
  return st.st_mode & S_IFMT;
}

// Opens `path`, in which only the last name may be a link. Returns -1 and errno on failure.
UniqueFd open_place(const UniqueFd& root, const std::string& path) {
  return UniqueFd(open_in_root(root.get(), path.empty() ? "/" : path, O_PATH | O_NOFOLLOW,
                               RESOLVE_NO_SYMLINKS));
}

UniqueFd make_place(const UniqueFd& root, const std::string& folder, const std::string& name,
                    bool directory) {
  const UniqueFd parent(open_place(root, folder));
  check_quietly(parent.get(), "open({})", folder);
  const std::string path = folder + "/" + name;
  // A file by mknod(2), which needs no privilege for a regular one. Modes as for docker run.
  if (directory) {
    check(mkdirat(parent.get(), name.c_str(), 0755), "mkdir({})", path);
  } else {
    check(mknodat(parent.get(), name.c_str(), S_IFREG | 0644, 0), "mknod({})", path);
  }
  return open_place(root, path);
}

std::string read_link(const UniqueFd& link, const std::string& path) {
  char target[PATH_MAX];
  const auto size =
      check_quietly(readlinkat(link.get(), "", target, sizeof target), "readlink({})", path);
  return {target, static_cast<std::size_t>(size)};
}

// Pushes the names in `path` onto the stack, with the first name on top.
void push_names(std::vector<std::string>& names, const std::string& path) {
  std::vector<std::string> parts;
  std::istringstream stream(path);
  for (std::string name; std::getline(stream, name, '/');) {
    if (!name.empty() && name != ".") parts.push_back(name);
  }
  names.insert(names.end(), parts.rbegin(), parts.rend());
}

// In /proc a volume could replace files that we look up there, and a mount on / or /dev would hide
// our own mounts.
void refuse_our_own_places(const UniqueFd& place, const std::string& resolved,
                           const std::string& path) {
  struct statfs fs = {};
  check_quietly(fstatfs(place.get(), &fs), "statfs({})", path);
  const std::string where = resolved.empty() ? "/" : resolved;
  if (where == "/" || where == "/dev" || is_in(where, "/proc") || is_in(where, "/sys") ||
      fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC) {
    throw Failure(path + " leads to " + where + " in this root: nothing may be mounted there");
  }
}

// Follows `path` and makes what is missing. Returns the path without links, "" for the root.
std::string resolve_and_make(const UniqueFd& root, const std::string& path, bool directory) {
  // Name by name, and each from the root: the part that has been resolved contains no link, so the
  // kernel is told to refuse any. If another process replaces a directory by a link, that is an
  // error, and never a way out.
  constexpr int kMostLinks = 40;  // MAXSYMLINKS of the kernel, see path_resolution(7)
  int links = 0;
  std::string resolved;  // "" is the root
  std::vector<std::string> names;
  push_names(names, path);
  while (!names.empty()) {
    const std::string name = names.back();
    names.pop_back();
    if (name == "..") {
      resolved.erase(resolved.empty() ? 0 : resolved.rfind('/'));
      continue;
    }
    const std::string next = resolved + "/" + name;
    UniqueFd fd = open_place(root, next);
    if (fd.get() == -1 && errno == ENOENT) {
      fd = make_place(root, resolved, name, directory || !names.empty());
    }
    check_quietly(fd.get(), "open({})", next);
    if (type_of(fd.get()) != S_IFLNK) {
      resolved = next;
      continue;
    }
    if (++links > kMostLinks) throw Failure(ELOOP, "open(" + path + ")");
    const std::string target = read_link(fd, next);
    if (!target.empty() && target.front() == '/') resolved.clear();
    push_names(names, target);
  }

  return resolved;
}

UniqueFd open_place_of_kind(const UniqueFd& root, const std::string& resolved,
                            const std::string& path, bool directory) {
  UniqueFd place = open_place(root, resolved);
  check_quietly(place.get(), "open({})", resolved);
  if (is_directory(place.get()) != directory) {
    throw Failure(directory ? "a directory cannot be mounted on the file " + path
                            : "a file cannot be mounted on the directory " + path);
  }
  return place;
}

}  // namespace

bool is_directory(int fd) { return type_of(fd) == S_IFDIR; }

UniqueFd make_mount_point(const UniqueFd& root, const std::string& path, bool directory) {
  const std::string resolved = resolve_and_make(root, path, directory);
  UniqueFd place = open_place(root, resolved);
  check_quietly(place.get(), "open({})", resolved);
  refuse_our_own_places(place, resolved, path);
  return open_place_of_kind(root, resolved, path, directory);
}

UniqueFd make_place_for_mount(const UniqueFd& root, const std::string& path, bool directory) {
  return open_place_of_kind(root, resolve_and_make(root, path, directory), path, directory);
}

UniqueFd make_real_directory(const UniqueFd& root, const std::string& name) {
  if (mkdirat(root.get(), name.c_str(), 0755) == -1 && errno != EEXIST) {
    check(-1, "mkdir(/{})", name);
  }
  UniqueFd directory = open_place(root, name);
  check_quietly(directory.get(), "open(/{})", name);
  if (!is_directory(directory.get())) throw Failure(ENOTDIR, "the root's /" + name);
  return directory;
}

}  // namespace box
