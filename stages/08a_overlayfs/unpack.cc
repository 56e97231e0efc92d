#include "stages/08a_overlayfs/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <linux/openat2.h>
#include <nettle/sha2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "common/build_once.h"
#include "common/check.h"
#include "common/interrupt.h"

namespace box {
namespace {

// Names with a meaning, see "Whiteouts" in the OCI image spec's layer.md.
constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr std::string_view kReserved = ".wh..wh.";  // of aufs, which they come from

constexpr dev_t kWhiteoutDevice = 0;  // 0:0, see "whiteouts" in the kernel's overlayfs.rst

// For messages: a name may have line feeds and escape sequences in it.
std::string printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < ' ' || c == '\x7f') c = '?';
  }
  return text;
}

// Gives libarchive the file's bytes, and takes their digest.
class Source {
 public:
  explicit Source(int fd) : fd_(fd) { nettle_sha256_init(&sha256_); }

  // As read(2).
  ssize_t read(const void** part) {
    const ssize_t size = TEMP_FAILURE_RETRY(::read(fd_, buffer_.data(), buffer_.size()));
    if (size > 0) {
      nettle_sha256_update(&sha256_, static_cast<std::size_t>(size), buffer_.data());
      bytes_ += static_cast<std::uint64_t>(size);
    }
    *part = buffer_.data();
    return size;
  }

  FileDigest finish(const std::string& name) {
    const void* part = nullptr;
    while (check_quietly(read(&part), "read({})", name) > 0) throw_if_interrupted();
    std::array<std::uint8_t, SHA256_DIGEST_SIZE> digest = {};
    nettle_sha256_digest(&sha256_, digest.size(), digest.data());
    return {fmt::format("{:02x}", fmt::join(digest, "")), bytes_};
  }

 private:
  int fd_;
  sha256_ctx sha256_ = {};
  std::uint64_t bytes_ = 0;
  std::vector<std::uint8_t> buffer_ = std::vector<std::uint8_t>(256UL * 1024);
};

la_ssize_t read_source(archive* tar, void* source, const void** part) {
  const ssize_t size = static_cast<Source*>(source)->read(part);
  if (size == -1) archive_set_error(tar, errno, "%s", "cannot be read");
  return size;
}

struct Attributes {
  mode_t mode;
  uid_t uid;
  gid_t gid;
  timespec times[2];  // of the last access and modification, for utimensat(2)
  std::vector<std::pair<std::string, std::string>> extended;
};

class Unpacker {
 public:
  Unpacker(archive* tar, std::string name, const std::string& directory)
      : tar_(tar),
        name_(std::move(name)),
        root_(check_quietly(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open({})",
                            directory)),
        privileged_(geteuid() == 0) {}

  void unpack();

 private:
  struct Place {
    UniqueFd folder;
    std::string name;
    std::string path;  // for messages
  };

  void add(archive_entry* entry);
  void add_whiteout(const std::string& path, std::string_view name);
  void add_hard_link(const Place& place, const std::string& target);
  void add_file(archive_entry* entry, const Place& place, const Attributes& attributes);
  void add_folder(const Place& place, const Attributes& attributes);
  void add_link(const Place& place, const std::string& target, const Attributes& attributes);
  void add_fifo(const Place& place, const Attributes& attributes);

  [[nodiscard]] std::string tidy(const char* path) const;
  [[nodiscard]] UniqueFd open_folder(const std::string& path) const;
  UniqueFd make_folders(const std::string& path);
  void make_folder(const Place& place, mode_t mode);
  Place place_of(const std::string& path);
  void make_way(const Place& place) const;

  [[nodiscard]] Attributes attributes_of(archive_entry* entry) const;
  void apply(const UniqueFd& file, const Place& place, const Attributes& attributes) const;
  void set_attributes_of_folders();
  void set_opaque(const UniqueFd& folder, const std::string& path) const;

  void must_be_good(int result) const;
  // What the kernel refuses, with the entry's name.
  template <typename Result>
  Result check_entry(Result result, const std::string& path) const {
    if (result == -1) throw Failure(errno, name_ + ": " + printable(path));
    return result;
  }

  archive* tar_;
  std::string name_;
  UniqueFd root_;
  bool privileged_;
  std::map<std::string, Attributes> folders_;  // what they get when all is in them
};

void Unpacker::must_be_good(int result) const {
  if (result == ARCHIVE_OK || result == ARCHIVE_WARN) return;
  const char* reason = archive_error_string(tar_);
  throw Failure(name_ + ": " + printable(reason != nullptr ? reason : "cannot be read"));
}

void Unpacker::unpack() {
  archive_entry* entry = nullptr;
  while (true) {
    throw_if_interrupted();
    const int result = archive_read_next_header(tar_, &entry);
    if (result == ARCHIVE_EOF) break;
    must_be_good(result);
    add(entry);
  }
  set_attributes_of_folders();
}

// A path below the root: "./a//b/" is "a/b", and the root itself is "". Who writes ".." wants out.
std::string Unpacker::tidy(const char* path) const {
  if (path == nullptr) throw Failure(name_ + ": an entry has no name");
  std::string tidied;
  std::string_view rest = path;
  while (!rest.empty()) {
    const auto part = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    if (part.empty() || part == ".") continue;
    if (part == "..") throw Failure(name_ + ": names " + printable(path) + ", which leads out");
    tidied.append(tidied.empty() ? "" : "/").append(part);
  }
  return tidied;
}

void Unpacker::add(archive_entry* entry) {
  const std::string path = tidy(archive_entry_pathname(entry));
  const std::string name = path.substr(path.rfind('/') + 1);
  const Attributes attributes = attributes_of(entry);
  if (path.empty()) {
    if (archive_entry_filetype(entry) == AE_IFDIR) folders_["."] = attributes;
    return;
  }
  if (name.starts_with(kWhiteout)) return add_whiteout(path, name);

  const Place place = place_of(path);
  if (const char* target = archive_entry_hardlink(entry); target != nullptr) {
    return add_hard_link(place, tidy(target));
  }
  switch (archive_entry_filetype(entry)) {
    case AE_IFREG:
      return add_file(entry, place, attributes);
    case AE_IFDIR:
      return add_folder(place, attributes);
    case AE_IFLNK: {
      const char* target = archive_entry_symlink(entry);
      return add_link(place, target != nullptr ? target : "", attributes);
    }
    case AE_IFIFO:
      return add_fifo(place, attributes);
    default:
      trace("left out: " + printable(path));
  }
}

// In the tar ".wh.NAME" hides NAME of the layers below; in overlayfs a device 0:0 called NAME does.
// ".wh..wh..opq" hides all that the layers below have in its folder: an attribute of the folder.
void Unpacker::add_whiteout(const std::string& path, std::string_view name) {
  if (name.starts_with(kReserved)) {
    const std::string folder = path.size() == name.size() ? "" : path.substr(0, path.rfind('/'));
    if (name == kOpaque) set_opaque(make_folders(folder), folder);
    return;
  }
  Place place = place_of(path);
  place.name.erase(0, kWhiteout.size());
  if (place.name.empty() || place.name == "." || place.name == "..") {
    throw Failure(name_ + ": " + printable(path) + " is no whiteout");
  }
  // Anybody may make this one device, and it needs no privilege to open, since Linux 5.8.
  if (mknodat(place.folder.get(), place.name.c_str(), S_IFCHR, kWhiteoutDevice) == 0) return;
  if (errno != EEXIST) check_entry(-1, path);
  // The layer also has a new NAME, which is not what is hidden: only a folder would be merged.
  const UniqueFd folder(openat(place.folder.get(), place.name.c_str(),
                               O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (folder.get() != -1) set_opaque(folder, path);
}

void Unpacker::set_opaque(const UniqueFd& folder, const std::string& path) const {
  // Not trusted.overlay.opaque, which takes the host's root to read: see "userxattr" in overlay.cc.
  if (fsetxattr(folder.get(), "user.overlay.opaque", "y", 1, 0) == 0) return;
  throw Failure(errno, name_ + ": setxattr(" + printable(path) + ", user.overlay.opaque)",
                kExitSetupFailed,
                errno == EOPNOTSUPP ? "the file system of " + cache_directory() +
                                          " keeps no extended attributes; choose another one with "
                                          "XDG_CACHE_HOME"
                                    : "");
}

UniqueFd Unpacker::open_folder(const std::string& path) const {
  open_how how = {};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(
      syscall(SYS_openat2, root_.get(), path.empty() ? "." : path.c_str(), &how, sizeof how)));
}

// Opens the folder `path`; what the tar has not brought yet is made.
UniqueFd Unpacker::make_folders(const std::string& path) {
  UniqueFd folder = open_folder(path);
  if (folder.get() != -1) return folder;
  if (path.empty() || (errno != ENOENT && errno != ENOTDIR)) check_entry(-1, path);
  const Place place = place_of(path);
  make_folder(place, 0755);
  return UniqueFd(check_entry(openat(place.folder.get(), place.name.c_str(),
                                     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                              path));
}

Unpacker::Place Unpacker::place_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {make_folders(""), path, path};
  return {make_folders(path.substr(0, slash)), path.substr(slash + 1), path};
}

// A folder in the place of a whiteout is a new one: nothing of the layers below belongs into it.
void Unpacker::make_folder(const Place& place, mode_t mode) {
  struct stat st = {};
  const bool is_there =
      fstatat(place.folder.get(), place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  const bool is_whiteout = is_there && S_ISCHR(st.st_mode) && st.st_rdev == kWhiteoutDevice;
  if (is_whiteout) make_way(place);
  check_entry(mkdirat(place.folder.get(), place.name.c_str(), mode), place.path);
  const UniqueFd folder(check_entry(openat(place.folder.get(), place.name.c_str(),
                                           O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                                    place.path));
  check_entry(fchmod(folder.get(), mode), place.path);  // mkdirat() obeys the umask
  if (is_whiteout) set_opaque(folder, place.path);
}

// Of two entries with one name the later one counts.
void Unpacker::make_way(const Place& place) const {
  if (unlinkat(place.folder.get(), place.name.c_str(), 0) == 0 || errno == ENOENT) return;
  if (errno != EISDIR) check_entry(-1, place.path);
  remove_tree(fmt::format("/proc/self/fd/{}/{}", place.folder.get(), place.name));
}

void Unpacker::add_hard_link(const Place& place, const std::string& target) {
  const Place existing = place_of(target);
  if (target == place.path) return;
  make_way(place);
  // Without AT_SYMLINK_FOLLOW: of a symbolic link, the new name is one for the link itself.
  check_entry(linkat(existing.folder.get(), existing.name.c_str(), place.folder.get(),
                     place.name.c_str(), 0),
              place.path + " -> " + target);
}

void Unpacker::add_file(archive_entry* entry, const Place& place, const Attributes& attributes) {
  make_way(place);
  const UniqueFd file(check_entry(
      openat(place.folder.get(), place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600),
      place.path));
  const void* data = nullptr;
  std::size_t size = 0;
  la_int64_t offset = 0;
  while (true) {
    throw_if_interrupted();
    const int result = archive_read_data_block(tar_, &data, &size, &offset);
    if (result == ARCHIVE_EOF) break;
    must_be_good(result);
    for (std::size_t done = 0; done < size;) {  // between the blocks of a sparse file are holes
      done += static_cast<std::size_t>(
          check_entry(pwrite(file.get(), static_cast<const char*>(data) + done, size - done,
                             offset + static_cast<la_int64_t>(done)),
                      place.path));
    }
  }
  check_entry(ftruncate(file.get(), archive_entry_size(entry)), place.path);
  apply(file, place, attributes);
}

void Unpacker::add_folder(const Place& place, const Attributes& attributes) {
  struct stat st = {};
  if (fstatat(place.folder.get(), place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == -1 ||
      !S_ISDIR(st.st_mode)) {
    if (!S_ISCHR(st.st_mode)) make_way(place);
    make_folder(place, 0700);
  }
  folders_[place.path] = attributes;
}

void Unpacker::add_link(const Place& place, const std::string& target,
                        const Attributes& attributes) {
  make_way(place);
  const int folder = place.folder.get();
  check_entry(symlinkat(target.c_str(), folder, place.name.c_str()), place.path);
  if (privileged_) {
    check_entry(
        fchownat(folder, place.name.c_str(), attributes.uid, attributes.gid, AT_SYMLINK_NOFOLLOW),
        place.path);
  }
  check_entry(utimensat(folder, place.name.c_str(), attributes.times, AT_SYMLINK_NOFOLLOW),
              place.path);
}

void Unpacker::add_fifo(const Place& place, const Attributes& attributes) {
  make_way(place);
  check_entry(mknodat(place.folder.get(), place.name.c_str(), S_IFIFO | 0600, 0), place.path);
  const UniqueFd fifo(check_entry(openat(place.folder.get(), place.name.c_str(),
                                         O_RDONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC),
                                  place.path));
  apply(fifo, place, attributes);
}

Attributes Unpacker::attributes_of(archive_entry* entry) const {
  Attributes attributes = {};
  attributes.mode = archive_entry_perm(entry);
  // A setuid program would become us for everybody else who can reach it.
  if (!privileged_) attributes.mode &= ~static_cast<mode_t>(S_ISUID | S_ISGID);
  attributes.uid = static_cast<uid_t>(archive_entry_uid(entry));
  attributes.gid = static_cast<gid_t>(archive_entry_gid(entry));
  for (timespec& time : attributes.times) {
    time = {archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)};
  }
  archive_entry_xattr_reset(entry);
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    attributes.extended.emplace_back(name, std::string(static_cast<const char*>(value), size));
  }
  return attributes;
}

void Unpacker::apply(const UniqueFd& file, const Place& place, const Attributes& attributes) const {
  if (privileged_) {
    check_entry(fchown(file.get(), attributes.uid, attributes.gid), place.path);
  }
  check_entry(fchmod(file.get(), attributes.mode), place.path);  // chown(2) takes set-user-ID away
  for (const auto& [name, value] : attributes.extended) {
    // What overlayfs itself would act upon is not for a tar to say; other namespaces of attributes
    // mean nothing in a container.
    const bool wanted = name == "security.capability" ||
                        (name.starts_with("user.") && !name.starts_with("user.overlay."));
    // File systems without them, and users without the right: as with tar --xattrs, no reason to
    // stop.
    if (wanted) (void)fsetxattr(file.get(), name.c_str(), value.data(), value.size(), 0);
  }
  check_entry(futimens(file.get(), attributes.times), place.path);
}

// Each after what is in it: a folder may be closed to ourselves, and its time changes with it.
void Unpacker::set_attributes_of_folders() {
  for (auto it = folders_.rbegin(); it != folders_.rend(); ++it) {
    const auto& [path, attributes] = *it;
    const UniqueFd folder = open_folder(path);
    if (folder.get() == -1) continue;  // another entry has taken its place
    apply(folder, {UniqueFd(), "", path}, attributes);
  }
}

}  // namespace

FileDigest unpack_layer(const UniqueFd& tar, const std::string& name,
                        const std::string& directory) {
  const std::unique_ptr<archive, decltype(&archive_read_free)> reader(archive_read_new(),
                                                                      archive_read_free);
  if (reader == nullptr) throw Failure(ENOMEM, "archive_read_new()");
  Source source(tar.get());
  archive_read_support_filter_gzip(reader.get());
  archive_read_support_filter_zstd(reader.get());
  archive_read_support_format_tar(reader.get());
  if (archive_read_open(reader.get(), &source, nullptr, read_source, nullptr) != ARCHIVE_OK) {
    throw Failure(name + ": " + printable(archive_error_string(reader.get())));
  }
  Unpacker(reader.get(), name, directory).unpack();
  return source.finish(name);
}

}  // namespace box
