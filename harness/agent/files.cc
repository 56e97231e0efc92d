#include "harness/agent/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <sstream>
#include <tuple>

#include "common/check.h"
#include "common/unique_fd.h"

namespace box {
namespace {

// A path of /proc/PID/mountinfo, in which a space is "\040", see proc(5).
std::string unescape(const std::string& text) {
  std::string path;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      path += static_cast<char>(std::stoi(text.substr(i + 1, 3), nullptr, 8));
      i += 3;
    } else {
      path += text[i];
    }
  }
  return path;
}

std::vector<std::string> mount_points_below(const std::string& path) {
  std::vector<std::string> points;
  std::istringstream mounts(read_text("/proc/self/mountinfo", 8 << 20).text);
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string id, parent, device, root, point;
    fields >> id >> parent >> device >> root >> point;
    point = unescape(point);
    if (point == path || point.rfind(path + "/", 0) == 0) points.push_back(point);
  }
  return points;
}

void unmount_all_below(const std::string& path) {
  for (int round = 0; round < 100; ++round) {
    auto points = mount_points_below(path);
    if (points.empty()) return;
    std::reverse(points.begin(), points.end());  // the latest mounts are on top
    for (const auto& point : points) (void)umount2(point.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
  }
  throw Failure("mounts below " + path + " cannot be unmounted");
}

void remove_entry(int folder, const char* name, const std::string& path) {
  struct statx status = {};
  check_quietly(statx(folder, name, AT_SYMLINK_NOFOLLOW, STATX_TYPE, &status), "statx({})", path);
  if ((status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0) throw Failure(path + " is a mount");
  if (!S_ISDIR(status.stx_mode)) {
    check_quietly(unlinkat(folder, name, 0), "unlink({})", path);
    return;
  }
  std::ignore = fchmodat(folder, name, 0700, 0);  // otherwise an ordinary user could not empty it
  UniqueFd fd(check_quietly(openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                            "open({})", path));
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(fdopendir(dup(fd.get())), closedir);
  if (entries == nullptr) check_quietly(-1, "opendir({})", path);
  while (const dirent* entry = readdir(entries.get())) {
    const std::string child = entry->d_name;
    if (child != "." && child != "..") remove_entry(fd.get(), entry->d_name, path + "/" + child);
  }
  check_quietly(unlinkat(folder, name, AT_REMOVEDIR), "rmdir({})", path);
}

bool has_same_directory(int below, const std::string& path, const FileStatus& status) {
  struct stat st = {};
  return below != -1 && fstatat(below, path.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
         st.st_mode == status.mode && st.st_uid == status.uid && st.st_gid == status.gid;
}

// `top` is the length of the path of the directory that is compared with `below`.
void list_into(const std::string& path, std::size_t limit, int below, std::size_t top,
               std::vector<std::string>& lines) {
  const DirectoryList entries = list_directory(path);
  if (entries.error != 0) {
    lines.push_back(path + " " + strerrorname_np(entries.error));
    return;
  }
  for (const auto& name : entries.names) {
    const std::string child = path + (path == "/" ? "" : "/") + name;
    const FileStatus status = status_of(child, false);
    if (lines.size() >= limit) return;
    if (status.error != 0) continue;  // removed in the meantime
    const bool directory = S_ISDIR(status.mode);
    const bool copied_up = directory && has_same_directory(below, child.substr(top + 1), status);
    if (!copied_up)
      lines.push_back(fmt::format("{} {:o} {}:{} {}{}", child, status.mode, status.uid, status.gid,
                                  directory ? 0 : status.size, status.is_mount_point ? " M" : ""));
    if (directory && !status.is_mount_point) list_into(child, limit, below, top, lines);
  }
}

void copy_file(const std::string& from, int to) {
  const UniqueFd in(check_quietly(open(from.c_str(), O_RDONLY | O_CLOEXEC), "open({})", from));
  while (true) {
    const auto size = check_quietly(sendfile(to, in.get(), nullptr, 1 << 30), "sendfile({})", from);
    if (size == 0) return;
  }
}

void write_regular(const NewFile& file) {
  const UniqueFd fd(check_quietly(
      open(file.path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644),
      "open({}, O_CREAT)", file.path));
  if (!file.copy_from.empty()) return copy_file(file.copy_from, fd.get());
  std::string_view rest = file.text;
  while (!rest.empty()) {
    const auto size =
        check_quietly(write(fd.get(), rest.data(), rest.size()), "write({})", file.path);
    rest.remove_prefix(static_cast<std::size_t>(size));
  }
}

}  // namespace

FileText read_text(const std::string& path, std::size_t limit) {
  // O_NONBLOCK: a FIFO that a program under test has planted must not block us.
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (fd.get() == -1) return {errno, ""};
  return read_fd(fd.get(), limit);
}

FileText read_fd(int fd, std::size_t limit) {
  FileText file;
  char part[16 * 1024];
  while (file.text.size() < limit) {
    const auto size = read(fd, part, std::min(sizeof part, limit - file.text.size()));
    if (size == -1) return {errno, file.text};
    if (size == 0) break;
    file.text.append(part, static_cast<std::size_t>(size));
  }
  return file;
}

FileText read_link(const std::string& path) {
  char target[4096];
  const auto size = readlink(path.c_str(), target, sizeof target);
  if (size == -1) return {errno, ""};
  return {0, std::string(target, static_cast<std::size_t>(size))};
}

FileStatus status_of(const std::string& path, bool follow) {
  struct statx st = {};
  const int flags = AT_NO_AUTOMOUNT | (follow ? 0 : AT_SYMLINK_NOFOLLOW);
  if (statx(AT_FDCWD, path.c_str(), flags, STATX_BASIC_STATS, &st) == -1) {
    FileStatus status;
    status.error = errno;
    return status;
  }
  return {.error = 0,
          .device = makedev(st.stx_dev_major, st.stx_dev_minor),
          .inode = st.stx_ino,
          .mode = st.stx_mode,
          .uid = st.stx_uid,
          .gid = st.stx_gid,
          .rdev_major = st.stx_rdev_major,
          .rdev_minor = st.stx_rdev_minor,
          .size = static_cast<std::int64_t>(st.stx_size),
          .is_mount_point = (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0};
}

DirectoryList list_directory(const std::string& path) {
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(opendir(path.c_str()), closedir);
  if (folder == nullptr) return {errno, {}};
  DirectoryList list;
  while (const dirent* entry = readdir(folder.get())) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") list.names.push_back(name);
  }
  std::sort(list.names.begin(), list.names.end());
  return list;
}

std::vector<std::string> list_tree(const std::string& path, std::size_t limit, int below) {
  std::vector<std::string> lines;
  list_into(path, limit, below, path.size(), lines);
  return lines;
}

void make_file(const NewFile& file) {
  const char* path = file.path.c_str();
  switch (file.kind) {
    case NewFile::Kind::kFile:
      write_regular(file);
      break;
    case NewFile::Kind::kDirectory:
      if (mkdir(path, 0755) == -1 && errno != EEXIST) check_quietly(-1, "mkdir({})", file.path);
      break;
    case NewFile::Kind::kLink:
      check_quietly(symlink(file.text.c_str(), path), "symlink({})", file.path);
      break;
    case NewFile::Kind::kDevice:
      check_quietly(mknod(path, S_IFCHR | 0600, makedev(file.major, file.minor)), "mknod({})",
                    file.path);
      break;
    case NewFile::Kind::kFifo:
      check_quietly(mkfifo(path, 0600), "mkfifo({})", file.path);
      break;
  }
  if (file.uid || file.gid) {
    check_quietly(lchown(path, file.uid.value_or(-1), file.gid.value_or(-1)), "lchown({})",
                  file.path);
  }
  if (file.mode && file.kind != NewFile::Kind::kLink) {
    check_quietly(chmod(path, *file.mode), "chmod({})", file.path);
  }
}

void remove_all(const std::string& path) {
  if (path.size() < 2 || path.front() != '/') throw Failure("will not remove '" + path + "'");
  unmount_all_below(path);
  if (status_of(path, false).error == ENOENT) return;
  remove_entry(AT_FDCWD, path.c_str(), path);
}

}  // namespace box
