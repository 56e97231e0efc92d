#include "stages/03_userspace/copy_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <deque>
#include <filesystem>
#include <limits>
#include <memory>

#include "common/check.h"
#include "common/failure.h"
#include "common/interrupt.h"

namespace box {
namespace {

namespace fs = std::filesystem;

constexpr off_t kChunk = 8 << 20;  // the number of bytes between two checks for Ctrl-C
constexpr std::size_t kBuffer = 256 << 10;
constexpr int kMostLinks = 40;  // the kernel's own limit, see ELOOP in path_resolution(7)

std::string join(const std::string& folder, const std::string& name) {
  return folder.empty() || folder.back() == '/' ? folder + name : folder + "/" + name;
}

std::deque<std::string> components_of(const std::string& path) {
  std::deque<std::string> components;
  for (const auto& part : fs::path(path)) {
    if (!part.empty() && part != "/" && part != ".") components.push_back(part);
  }
  return components;
}

std::string read_link(int folder, const std::string& name, const std::string& path) {
  char target[PATH_MAX];
  const auto size =
      check_quietly(readlinkat(folder, name.c_str(), target, sizeof target), "readlink({})", path);
  return std::string(target, static_cast<std::size_t>(size));
}

// Calls `make`; if the file exists already, removes it and calls `make` again.
template <typename Make>
int make_anew(int folder, const std::string& name, const std::string& path, const Make& make) {
  int result = make();
  if (result == -1 && errno == EEXIST) {
    check_quietly(unlinkat(folder, name.c_str(), 0), "unlink({})", path);
    result = make();
  }
  return result;
}

using Folder = std::unique_ptr<DIR, decltype([](DIR* folder) { closedir(folder); })>;

std::vector<std::string> list(DIR* folder, const std::string& path) {
  std::vector<std::pair<ino_t, std::string>> entries;
  errno = 0;
  while (const dirent* entry = readdir(folder)) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") entries.emplace_back(entry->d_ino, name);
    errno = 0;
  }
  if (errno != 0) throw Failure(errno, "readdir(" + path + ")");
  // Inodes with consecutive numbers are next to each other on the disk.
  std::sort(entries.begin(), entries.end());
  std::vector<std::string> names;
  for (auto& [inode, name] : entries) names.push_back(std::move(name));
  return names;
}

// Extended attributes, by descriptor or, for a file that cannot be opened, by path.
struct Attributes {
  std::function<ssize_t(char* list, std::size_t size)> list;
  std::function<ssize_t(const char* name, char* value, std::size_t size)> get;
  std::function<int(const char* name, const char* value, std::size_t size)> set;
};

// Failures are ignored, as by cp -a: not every file system has them, and only root may write some,
// see xattr(7).
bool attributes_are_refused() {
  return errno == ENOTSUP || errno == EPERM || errno == EACCES || errno == ENODATA;
}

void copy_attributes(const Attributes& attributes, std::vector<char>& buffer,
                     const std::string& path) {
  static_assert(kBuffer >= XATTR_LIST_MAX + XATTR_SIZE_MAX);
  char* const value = buffer.data() + XATTR_LIST_MAX;
  const ssize_t listed = attributes.list(buffer.data(), XATTR_LIST_MAX);
  if (listed == -1 && !attributes_are_refused()) throw Failure(errno, "listxattr(" + path + ")");
  for (ssize_t at = 0; at < listed; at += static_cast<ssize_t>(strlen(buffer.data() + at)) + 1) {
    const char* name = buffer.data() + at;
    const ssize_t size = attributes.get(name, value, XATTR_SIZE_MAX);
    if (size != -1 && attributes.set(name, value, static_cast<std::size_t>(size)) != -1) continue;
    if (!attributes_are_refused()) throw Failure(errno, "setxattr(" + path + ", " + name + ")");
  }
}

void copy_attributes(int from, int to, std::vector<char>& buffer, const std::string& path) {
  copy_attributes(
      {[=](char* l, std::size_t n) { return flistxattr(from, l, n); },
       [=](const char* k, char* v, std::size_t n) { return fgetxattr(from, k, v, n); },
       [=](const char* k, const char* v, std::size_t n) { return fsetxattr(to, k, v, n, 0); }},
      buffer, path);
}

// A link or a device node cannot be opened for fgetxattr(2), and no such call takes a path relative
// to a directory.
std::string path_in(int folder, const std::string& name) {
  return folder == AT_FDCWD ? name : fmt::format("/proc/self/fd/{}/{}", folder, name);
}

void copy_attributes_of_node(const std::string& from, const std::string& to,
                             std::vector<char>& buffer, const std::string& path) {
  copy_attributes(
      {[&](char* l, std::size_t n) { return llistxattr(from.c_str(), l, n); },
       [&](const char* k, char* v, std::size_t n) { return lgetxattr(from.c_str(), k, v, n); },
       [&](const char* k, const char* v, std::size_t n) {
         return lsetxattr(to.c_str(), k, v, n, 0);
       }},
      buffer, path);
}

// Gives the new file to its owner, and returns the mode that it may have. `chown` takes an owner
// and a group.
template <typename Chown>
mode_t give_to_owner(const Chown& chown, const struct stat& st, bool privileged,
                     const std::string& path) {
  if (chown(st.st_uid, st.st_gid) == 0) return st.st_mode & 07777;
  // EINVAL: our user namespace does not map the id, see chown(2) and user_namespaces(7).
  if (privileged || (errno != EPERM && errno != EINVAL))
    throw Failure(errno, "chown(" + path + ")");
  (void)chown(uid_t(-1), st.st_gid);  // allowed if it is one of our groups
  return st.st_mode & (S_ISDIR(st.st_mode) ? 01777 : 0777);
}

// Two paths may lead to the same directory: /lib is a link to /usr/lib.
bool is_same_file(int folder, const std::string& name, int other_folder,
                  const std::string& other_name) {
  struct stat st = {};
  struct stat other = {};
  return fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 &&
         fstatat(other_folder, other_name.c_str(), &other, AT_SYMLINK_NOFOLLOW) == 0 &&
         st.st_dev == other.st_dev && st.st_ino == other.st_ino;
}

}  // namespace

Copier::Copier(const std::string& root, std::function<void(const Copied&)> on_progress)
    : Copier(UniqueFd(check_quietly(open(root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC),
                                    "open({})", root)),
             root) {
  on_progress_ = std::move(on_progress);
}

Copier::Copier(UniqueFd root, std::string name)
    : root_(std::move(name)),
      root_fd_(std::move(root)),
      privileged_(geteuid() == 0),
      on_progress_([](const Copied&) {}),
      buffer_(kBuffer) {
  struct stat st;
  check_quietly(fstat(root_fd_.get(), &st), "fstat({})", root_);
  root_id_ = {st.st_dev, st.st_ino};
}

void Copier::copy_tree(const std::string& from, const std::string& to) {
  const fs::path path = fs::path("/" + to).lexically_normal();
  const UniqueFd folder = open_in_root(path.parent_path());
  if (folder.get() == -1) throw Failure(errno, "open(" + join(root_, path.parent_path()) + ")");
  struct stat st;
  check_quietly(lstat(from.c_str(), &st), "lstat({})", from);
  const std::string name = path.filename();
  copy({AT_FDCWD, from, from}, {folder.get(), name.empty() ? "." : name, path}, st);
}

void Copier::copy_with_links(const std::string& path) {
  if (copied_with_links_.insert(path).second) walk(path, LastFolder::kWhole);
}

void Copier::make_folder_with_links(const std::string& path) { walk(path, LastFolder::kEmpty); }

void Copier::walk(const std::string& path, LastFolder last) {
  std::deque<std::string> rest = components_of(path);
  std::string host;     // how far we are, on the host, without links
  std::string in_root;  // and in the root
  for (int links = 0; !rest.empty();) {
    const std::string name = rest.front();
    rest.pop_front();
    const UniqueFd folder = open_in_root("/" + in_root);
    if (folder.get() == -1) throw Failure(errno, "open(" + join(root_, in_root) + ")");
    Place from{AT_FDCWD, host + "/" + name, host + "/" + name};
    const Place to{folder.get(), name, in_root + "/" + name};
    const bool root_has_folder = open_in_root(to.path).get() != -1;

    struct stat st;
    if (lstat(from.path.c_str(), &st) == -1) throw Failure(errno, path);
    if (S_ISLNK(st.st_mode) && root_has_folder) {
      std::error_code error;
      from.name = from.path = fs::canonical(from.path, error);
      if (error || stat(from.path.c_str(), &st) == -1) throw Failure(error.value(), path);
    }

    if (S_ISLNK(st.st_mode)) {
      if (++links > kMostLinks) throw Failure(ELOOP, path);
      copy(from, to, st);
      const std::string target = read_link(AT_FDCWD, from.name, from.path);
      const auto components = components_of(target);
      rest.insert(rest.begin(), components.begin(), components.end());
      if (target.starts_with("/")) host = in_root = "";
    } else if (rest.empty() && last == LastFolder::kWhole) {
      copy(from, to, st);
    } else {
      if (!S_ISDIR(st.st_mode)) throw Failure(ENOTDIR, path);
      if (!root_has_folder) make_folder(from, to, st);
      host = from.path;
      in_root = to.path;
    }
  }
}

UniqueFd Copier::open_in_root(const std::string& folder) const {
  struct open_how how = {};
  how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  long fd = -1;
  do {  // EAGAIN: another process called rename(2) while the kernel was following a ".."
    fd = syscall(SYS_openat2, root_fd_.get(), folder.c_str(), &how, sizeof how);
  } while (fd == -1 && errno == EAGAIN);
  return UniqueFd(static_cast<int>(fd));
}

void Copier::make_folder(const Place& from, const Place& to, const struct stat& st) {
  check_quietly(mkdirat(to.folder, to.name.c_str(), 0700), "mkdir({})", join(root_, to.path));
  const UniqueFd fd(check_quietly(
      openat(to.folder, to.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
      "open({})", join(root_, to.path)));
  const auto chown = [&](uid_t user, gid_t group) { return fchown(fd.get(), user, group); };
  const mode_t mode = give_to_owner(chown, st, privileged_, from.path);
  // More files will follow, and only root can write to a read-only directory.
  check_quietly(fchmod(fd.get(), privileged_ ? mode : mode | S_IRWXU), "chmod({})", from.path);
}

void Copier::copy(const Place& from, const Place& to, const struct stat& st) {
  throw_if_interrupted();
  if (S_ISDIR(st.st_mode)) return copy_folder(from, to, st);

  if (st.st_nlink > 1 && link_to_copy(to, st)) return report(0);
  const bool is_copied = S_ISREG(st.st_mode)   ? copy_file(from, to, st)
                         : S_ISLNK(st.st_mode) ? copy_link(from, to, st)
                                               : make_node(from, to, st);
  if (!is_copied) return;
  if (st.st_nlink > 1) copies_[{st.st_dev, st.st_ino}] = to.path;
  ++copied_.files;
  report(0);
}

void Copier::copy_folder(const Place& from, const Place& to, const struct stat& st) {
  if (FileId(st.st_dev, st.st_ino) == root_id_) {
    throw Failure("cannot copy " + from.path + " into itself");
  }
  if (mkdirat(to.folder, to.name.c_str(), 0700) == -1 && errno != EEXIST) {
    throw Failure(errno, "mkdir(" + join(root_, to.path) + ")");
  }
  const UniqueFd copy_fd(check_quietly(
      openat(to.folder, to.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
      "open({})", join(root_, to.path)));

  const int from_fd =
      openat(from.folder, from.name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (from_fd == -1) {
    (void)skip(from, errno);
  } else {
    const Folder folder(fdopendir(from_fd));
    if (folder == nullptr) {  // there is no memory for it
      const int error = errno;
      (void)close(from_fd);
      throw Failure(error, "open(" + from.path + ")");
    }
    for (const auto& name : list(folder.get(), from.path)) {
      const Place child{from_fd, name, join(from.path, name)};
      struct stat child_st;
      if (fstatat(child.folder, name.c_str(), &child_st, AT_SYMLINK_NOFOLLOW) == -1) {
        if (errno != ENOENT) (void)skip(child, errno);  // ENOENT: removed in the meantime
        continue;
      }
      copy(child, {copy_fd.get(), name, join(to.path, name)}, child_st);
    }
    copy_attributes(from_fd, copy_fd.get(), buffer_, from.path);
  }

  // Last, because the directory must be writable while we put files into it, and each changes its
  // times.
  const auto chown = [&](uid_t user, gid_t group) { return fchown(copy_fd.get(), user, group); };
  const mode_t mode = give_to_owner(chown, st, privileged_, from.path);
  check_quietly(fchmod(copy_fd.get(), mode), "chmod({})", from.path);
  const struct timespec times[] = {st.st_atim, st.st_mtim};
  check_quietly(futimens(copy_fd.get(), times), "utimens({})", from.path);
}

bool Copier::link_to_copy(const Place& to, const struct stat& st) {
  const auto copy = copies_.find({st.st_dev, st.st_ino});
  if (copy == copies_.end()) return false;
  const fs::path first = copy->second;
  const UniqueFd folder = open_in_root(first.parent_path());
  if (is_same_file(folder.get(), first.filename(), to.folder, to.name)) return true;
  const int result = make_anew(to.folder, to.name, to.path, [&] {
    return linkat(folder.get(), first.filename().c_str(), to.folder, to.name.c_str(), 0);
  });
  check_quietly(result, "link({}, {})", first.c_str(), join(root_, to.path));
  ++copied_.files;
  return true;
}

bool Copier::copy_file(const Place& from, const Place& to, struct stat st) {
  // O_NONBLOCK: if it has become a FIFO, open(2) must not wait for a writer.
  const UniqueFd in(openat(from.folder, from.name.c_str(),
                           O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
  if (in.get() == -1) return skip(from, errno);
  check_quietly(fstat(in.get(), &st), "fstat({})", from.path);
  const int made = make_anew(to.folder, to.name, to.path, [&] {
    return openat(to.folder, to.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                  0600);
  });
  const UniqueFd out(check_quietly(made, "open({})", join(root_, to.path)));
  copy_content(in.get(), out.get(), from, st);

  // In this order: write(2) and chown(2) remove setuid bits and security.capability, and every step
  // changes the times.
  const auto chown = [&](uid_t user, gid_t group) { return fchown(out.get(), user, group); };
  const mode_t mode = give_to_owner(chown, st, privileged_, from.path);
  copy_attributes(in.get(), out.get(), buffer_, from.path);
  check_quietly(fchmod(out.get(), mode), "chmod({})", from.path);
  const struct timespec times[] = {st.st_atim, st.st_mtim};
  check_quietly(futimens(out.get(), times), "utimens({})", from.path);
  return true;
}

bool Copier::copy_link(const Place& from, const Place& to, const struct stat& st) {
  const std::string target = read_link(from.folder, from.name, from.path);
  const int made = make_anew(to.folder, to.name, to.path,
                             [&] { return symlinkat(target.c_str(), to.folder, to.name.c_str()); });
  check_quietly(made, "symlink({})", join(root_, to.path));
  const auto chown = [&](uid_t user, gid_t group) {
    return fchownat(to.folder, to.name.c_str(), user, group, AT_SYMLINK_NOFOLLOW);
  };
  (void)give_to_owner(chown, st, privileged_, from.path);  // the mode of a link has no meaning
  copy_attributes_of_node(path_in(from.folder, from.name), path_in(to.folder, to.name), buffer_,
                          from.path);
  const struct timespec times[] = {st.st_atim, st.st_mtim};
  check_quietly(utimensat(to.folder, to.name.c_str(), times, AT_SYMLINK_NOFOLLOW), "utimens({})",
                from.path);
  return true;
}

// A device, a FIFO or a socket.
bool Copier::make_node(const Place& from, const Place& to, const struct stat& st) {
  const int made = make_anew(to.folder, to.name, to.path, [&] {
    return mknodat(to.folder, to.name.c_str(), (st.st_mode & S_IFMT) | 0600, st.st_rdev);
  });
  if (made == -1 && errno == EPERM)
    return skip(from, errno);  // only root may make devices, see mknod(2)
  check_quietly(made, "mknod({})", join(root_, to.path));
  const auto chown = [&](uid_t user, gid_t group) {
    return fchownat(to.folder, to.name.c_str(), user, group, AT_SYMLINK_NOFOLLOW);
  };
  const mode_t mode = give_to_owner(chown, st, privileged_, from.path);
  copy_attributes_of_node(path_in(from.folder, from.name), path_in(to.folder, to.name), buffer_,
                          from.path);
  check_quietly(fchmodat(to.folder, to.name.c_str(), mode, AT_SYMLINK_NOFOLLOW), "chmod({})",
                from.path);
  const struct timespec times[] = {st.st_atim, st.st_mtim};
  check_quietly(utimensat(to.folder, to.name.c_str(), times, AT_SYMLINK_NOFOLLOW), "utimens({})",
                from.path);
  return true;
}

void Copier::copy_content(int in, int out, const Place& from, const struct stat& st) {
  // A file of /proc or /sys has a size of 0, but is not empty.
  if (st.st_size == 0) {
    return read_and_write(in, out, from, 0, std::numeric_limits<off_t>::max());
  }

  // The copy shares the blocks of the original until one of them is written to, see
  // ioctl_ficlonerange(2).
  if (!without_reflinks_.contains(st.st_dev)) {
    if (ioctl(out, FICLONE, in) == 0) return report(static_cast<std::uint64_t>(st.st_size));
    if (errno == EOPNOTSUPP || errno == EXDEV || errno == ENOTTY) {
      without_reflinks_.insert(st.st_dev);
    }
  }

  const bool may_have_holes = st.st_blocks * 512 < st.st_size;
  if (!may_have_holes) return copy_range(in, out, from, st.st_dev, 0, st.st_size);
  off_t end = 0;
  for (;;) {
    const off_t data = lseek(in, end, SEEK_DATA);
    if (data == -1 && errno == ENXIO) break;  // only a hole is left
    check_quietly(data, "lseek({}, SEEK_DATA)", from.path);
    end = check_quietly(lseek(in, data, SEEK_HOLE), "lseek({}, SEEK_HOLE)", from.path);
    copy_range(in, out, from, st.st_dev, data, end);
  }
  check_quietly(ftruncate(out, st.st_size), "ftruncate({})", from.path);
}

// The kernel copies, without using our memory.
void Copier::copy_range(int in, int out, const Place& from, dev_t device, off_t offset, off_t end) {
  while (offset < end && !without_copy_range_.contains(device)) {
    throw_if_interrupted();
    off_t to = offset;
    const ssize_t size = copy_file_range(
        in, &offset, out, &to, static_cast<std::size_t>(std::min(kChunk, end - offset)), 0);
    if (size > 0) {
      report(static_cast<std::uint64_t>(size));
    } else if (size == 0) {
      return;  // the file has become shorter
    } else if (errno == EXDEV || errno == EOPNOTSUPP || errno == EINVAL || errno == ENOSYS) {
      without_copy_range_.insert(device);
    } else if (errno != EINTR) {
      throw Failure(errno, "copy_file_range(" + from.path + ")");
    }
  }
  read_and_write(in, out, from, offset, end);
}

void Copier::read_and_write(int in, int out, const Place& from, off_t offset, off_t end) {
  while (offset < end) {
    throw_if_interrupted();
    const auto most = std::min<off_t>(static_cast<off_t>(buffer_.size()), end - offset);
    const ssize_t size = pread(in, buffer_.data(), static_cast<std::size_t>(most), offset);
    if (size == 0) return;
    if (size == -1 && errno == EINTR) continue;
    check_quietly(size, "read({})", from.path);
    for (ssize_t written = 0; written < size;) {
      const ssize_t n = pwrite(out, buffer_.data() + written,
                               static_cast<std::size_t>(size - written), offset + written);
      if (n == -1 && errno == EINTR) continue;
      written += check_quietly(n, "write({})", from.path);
    }
    offset += size;
    report(static_cast<std::uint64_t>(size));
  }
}

bool Copier::may_skip(int error) const {
  return !privileged_ && (error == EACCES || error == EPERM);
}

// Counts a file that an ordinary user may not copy. Returns false, which the callers pass on.
bool Copier::skip(const Place& from, int error) {
  if (!may_skip(error)) throw Failure(error, from.path);
  if (copied_.skipped++ == 0) copied_.first_skipped = Failure(error, from.path).what();
  return false;
}

void Copier::report(std::uint64_t bytes) {
  copied_.bytes += bytes;
  on_progress_(copied_);
}

}  // namespace box
