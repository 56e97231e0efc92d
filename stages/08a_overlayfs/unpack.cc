#include "stages/08a_overlayfs/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <map>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "common/build_once.h"
#include "common/check.h"
#include "common/interrupt.h"
#include "common/remove_tree.h"
#include "stages/08a_overlayfs/entry_attributes.h"

namespace box {
namespace {

// Names with a meaning, see "Whiteouts" in the OCI image spec's layer.md.
constexpr std::string_view kWhiteout = ".wh.";
constexpr std::string_view kOpaque = ".wh..wh..opq";
constexpr std::string_view kReserved = ".wh..wh.";  // from aufs, where the format comes from

constexpr dev_t kWhiteoutDevice = 0;  // 0:0, see "whiteouts" in the kernel's overlayfs.rst

// Deeper than the trees of real programs, but shallow enough for every program that walks it.
constexpr std::ptrdiff_t kMaxDepth = 256;

// Of the directories, whose modes and times are set at the end: their paths are kept until then.
constexpr std::uint64_t kMaxFolderBytes = 64UL << 20;

constexpr int kFolder = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

class Unpacker {
 public:
  Unpacker(archive* tar, LayerSource& source, std::string name, const std::string& directory,
           UnpackLimits& left)
      : tar_(tar),
        source_(source),
        left_(left),
        name_(std::move(name)),
        root_(check_quietly(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open({})",
                            directory)),
        privileged_(geteuid() == 0),
        depth_of_root_(depth_of(root_)) {}

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
  void add_folder(archive_entry* entry, const Place& place, const Attributes& attributes);
  void write_data(archive_entry* entry, const UniqueFd& file, const Place& place);
  void add_link(const Place& place, const std::string& target, const Attributes& attributes);
  void add_fifo(const Place& place, const Attributes& attributes);

  [[nodiscard]] std::string tidy(const char* path) const;
  [[nodiscard]] UniqueFd open_folder(const std::string& path) const;
  UniqueFd make_folders(const std::string& path);
  void make_folder(const Place& place, mode_t mode);
  Place place_of(const std::string& path);
  void make_way(const Place& place) const;

  void apply_extended(archive_entry* entry, const UniqueFd& file, const std::string& path);
  void apply(const UniqueFd& file, const Place& place, const Attributes& attributes) const;
  void note_folder(const std::string& path, const Attributes& attributes);
  void set_attributes_of_folders();
  void set_opaque(const UniqueFd& folder, const std::string& path) const;

  void must_be_good(int result) const;
  void count_entry();
  void check_depth(const Place& place) const;
  // How many directories an open directory has above it; -1 if its path has more than PATH_MAX
  // bytes.
  [[nodiscard]] static std::ptrdiff_t depth_of(const UniqueFd& folder);
  // A failure of the kernel, with the entry's name.
  template <typename Result>
  Result check_entry(Result result, const std::string& path) const {
    if (result == -1) throw Failure(errno, name_ + ": " + shown(path));
    return result;
  }

  archive* tar_;
  LayerSource& source_;
  UnpackLimits& left_;
  std::string name_;
  UniqueFd root_;
  bool privileged_;
  std::ptrdiff_t depth_of_root_;
  bool ended_ = false;                         // without the last file's padding
  std::map<std::string, Attributes> folders_;  // set when all files are in them
  std::uint64_t folder_bytes_ = 0;
};

void Unpacker::must_be_good(int result) const {
  if (result == ARCHIVE_OK || result == ARCHIVE_WARN) return;
  source_.rethrow_failure();
  throw Failure(name_ + ": " + reason_of(tar_));
}

void Unpacker::count_entry() {
  if (left_.entries == 0) throw Failure(name_ + ": the layers have more files than are allowed");
  --left_.entries;
}

void Unpacker::unpack() {
  archive_entry* entry = nullptr;
  while (!ended_) {
    throw_if_interrupted();
    source_.begin_header();
    const int result = archive_read_next_header(tar_, &entry);
    source_.end_header();
    if (result == ARCHIVE_EOF) break;
    must_be_good(result);
    count_entry();
    add(entry);
    if (!ended_) must_be_good(archive_read_data_skip(tar_));  // otherwise next_header() would do it
  }
  set_attributes_of_folders();
}

std::ptrdiff_t Unpacker::depth_of(const UniqueFd& folder) {
  char path[PATH_MAX];
  const auto link = fmt::format("/proc/self/fd/{}", folder.get());
  const auto size = readlink(link.c_str(), path, sizeof path);
  return size == -1 || size == sizeof path ? -1 : std::count(path, path + size, '/');
}

// Counting the slashes in the entry's name is not enough, because a link in the layer may lead far
// down.
void Unpacker::check_depth(const Place& place) const {
  const auto depth = depth_of(place.folder);
  if (depth != -1 && depth - depth_of_root_ < kMaxDepth) return;
  throw Failure(
      fmt::format("{}: {}: directories more than {} deep", name_, shown(place.path), kMaxDepth));
}

// Returns a path below the root: "a/b" for "./a//b/", and "" for the root itself. Throws Failure
// for "..", which could lead out.
std::string Unpacker::tidy(const char* path) const {
  if (path == nullptr) throw Failure(name_ + ": an entry has no name");
  std::string tidied;
  std::string_view rest = path;
  while (!rest.empty()) {
    const auto part = rest.substr(0, rest.find('/'));
    rest.remove_prefix(std::min(rest.size(), part.size() + 1));
    if (part.empty() || part == ".") continue;
    if (part == "..") throw Failure(name_ + ": names " + shown(path) + ", which leads outside");
    tidied.append(tidied.empty() ? "" : "/").append(part);
  }
  return tidied;
}

void Unpacker::add(archive_entry* entry) {
  const std::string path = tidy(archive_entry_pathname(entry));
  const std::string name = path.substr(path.rfind('/') + 1);
  Attributes attributes = attributes_of(entry, name_ + ": " + shown(path));
  // A set-user-ID program would run as us for every other user who can reach it.
  if (!privileged_) attributes.mode &= ~static_cast<mode_t>(S_ISUID | S_ISGID);
  if (path.empty()) {
    if (archive_entry_filetype(entry) == AE_IFDIR) note_folder(".", attributes);
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
      return add_folder(entry, place, attributes);
    case AE_IFLNK: {
      const char* target = archive_entry_symlink(entry);
      return add_link(place, target != nullptr ? target : "", attributes);
    }
    case AE_IFIFO:
      return add_fifo(place, attributes);
    default:
      trace("left out: " + shown(path));
  }
}

// In the tar, ".wh.NAME" hides NAME of the layers below; in overlayfs a device 0:0 called NAME
// does. ".wh..wh..opq" hides everything that the layers below have in its directory; in overlayfs
// an attribute of the directory does.
void Unpacker::add_whiteout(const std::string& path, std::string_view name) {
  if (name.starts_with(kReserved)) {
    const std::string folder = path.size() == name.size() ? "" : path.substr(0, path.rfind('/'));
    if (name == kOpaque) set_opaque(make_folders(folder), folder);
    return;
  }
  Place place = place_of(path);
  place.name.erase(0, kWhiteout.size());
  if (place.name.empty() || place.name == "." || place.name == "..") {
    throw Failure(name_ + ": " + shown(path) + " is not a valid whiteout");
  }
  // Since Linux 5.8 every user may make this one device.
  if (mknodat(place.folder.get(), place.name.c_str(), S_IFCHR, kWhiteoutDevice) == 0) return;
  if (errno != EEXIST) check_entry(-1, path);
  // The layer itself also has a NAME, which hides the lower one already; only a directory would be
  // merged.
  const UniqueFd folder(openat(place.folder.get(), place.name.c_str(), kFolder));
  if (folder.get() != -1) set_opaque(folder, path);
}

void Unpacker::set_opaque(const UniqueFd& folder, const std::string& path) const {
  // Not trusted.overlay.opaque, which only the host's root may read: see "userxattr" in overlay.cc.
  if (fsetxattr(folder.get(), "user.overlay.opaque", "y", 1, 0) == 0) return;
  throw Failure(errno, name_ + ": setxattr(" + shown(path) + ", user.overlay.opaque)",
                kExitSetupFailed,
                errno == EOPNOTSUPP ? "the file system of " + cache_directory() +
                                          " does not support extended attributes; choose another"
                                          " one with XDG_CACHE_HOME"
                                    : "");
}

UniqueFd Unpacker::open_folder(const std::string& path) const {
  open_how how = {};
  how.flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
  how.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS;
  return UniqueFd(static_cast<int>(
      syscall(SYS_openat2, root_.get(), path.empty() ? "." : path.c_str(), &how, sizeof how)));
}

// Opens the directory `path`, and makes the parts that the tar has not brought yet.
UniqueFd Unpacker::make_folders(const std::string& path) {
  UniqueFd folder = open_folder(path);
  if (folder.get() != -1) return folder;
  if (path.empty() || (errno != ENOENT && errno != ENOTDIR)) check_entry(-1, path);
  const Place place = place_of(path);
  make_folder(place, 0755);
  return UniqueFd(check_entry(openat(place.folder.get(), place.name.c_str(), kFolder), path));
}

Unpacker::Place Unpacker::place_of(const std::string& path) {
  const auto slash = path.rfind('/');
  if (slash == std::string::npos) return {make_folders(""), path, path};
  return {make_folders(path.substr(0, slash)), path.substr(slash + 1), path};
}

// A directory that replaces a whiteout is a new one: it must not show anything of the layers below.
void Unpacker::make_folder(const Place& place, mode_t mode) {
  count_entry();
  check_depth(place);
  struct stat st = {};
  const bool is_there =
      fstatat(place.folder.get(), place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0;
  const bool is_whiteout = is_there && S_ISCHR(st.st_mode) && st.st_rdev == kWhiteoutDevice;
  if (is_whiteout) make_way(place);
  check_entry(mkdirat(place.folder.get(), place.name.c_str(), mode), place.path);
  const UniqueFd folder(
      check_entry(openat(place.folder.get(), place.name.c_str(), kFolder), place.path));
  check_entry(fchmod(folder.get(), mode), place.path);  // mkdirat() obeys the umask
  if (is_whiteout) set_opaque(folder, place.path);
}

// Of two entries with the same name, the later one wins.
void Unpacker::make_way(const Place& place) const {
  if (unlinkat(place.folder.get(), place.name.c_str(), 0) == 0 || errno == ENOENT) return;
  if (errno != EISDIR) check_entry(-1, place.path);
  remove_tree_at(place.folder.get(), place.name);
}

void Unpacker::add_hard_link(const Place& place, const std::string& target) {
  const Place existing = place_of(target);
  if (target == place.path) return;
  make_way(place);
  // Without AT_SYMLINK_FOLLOW: for a symbolic link, the new name refers to the link itself.
  check_entry(linkat(existing.folder.get(), existing.name.c_str(), place.folder.get(),
                     place.name.c_str(), 0),
              place.path + " -> " + target);
}

void Unpacker::add_file(archive_entry* entry, const Place& place, const Attributes& attributes) {
  make_way(place);
  const UniqueFd file(check_entry(
      openat(place.folder.get(), place.name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600),
      place.path));
  write_data(entry, file, place);
  check_entry(ftruncate(file.get(), archive_entry_size(entry)), place.path);
  apply(file, place, attributes);
  apply_extended(entry, file, place.path);  // chown(2) removes security.capability
}

// How many bytes of data an entry has. That is not its size, because a sparse file has holes.
static la_int64_t data_bytes_of(archive_entry* entry) {
  la_int64_t sum = 0;
  la_int64_t offset = 0;
  la_int64_t size = 0;
  if (archive_entry_sparse_reset(entry) == 0) return archive_entry_size(entry);
  while (archive_entry_sparse_next(entry, &offset, &size) == ARCHIVE_OK) sum += size;
  return sum;
}

void Unpacker::write_data(archive_entry* entry, const UniqueFd& file, const Place& place) {
  const la_int64_t expected = data_bytes_of(entry);
  la_int64_t got = 0;
  const void* data = nullptr;
  std::size_t size = 0;
  la_int64_t offset = 0;
  while (true) {
    const int result = archive_read_data_block(tar_, &data, &size, &offset);
    if (result == ARCHIVE_EOF) return;
    if (result == ARCHIVE_FATAL && got == expected && source_.is_at_end()) {
      ended_ = true;  // only the padding is missing, which umoci's layers do not have
      return;
    }
    must_be_good(result);
    got += static_cast<la_int64_t>(size);
    for (std::size_t done = 0; done < size;) {
      done += static_cast<std::size_t>(
          check_entry(pwrite(file.get(), static_cast<const char*>(data) + done, size - done,
                             offset + static_cast<la_int64_t>(done)),
                      place.path));
    }
  }
}

void Unpacker::add_folder(archive_entry* entry, const Place& place, const Attributes& attributes) {
  struct stat st = {};
  if (fstatat(place.folder.get(), place.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == -1 ||
      !S_ISDIR(st.st_mode)) {
    if (!S_ISCHR(st.st_mode)) make_way(place);
    make_folder(place, 0700);
  }
  const UniqueFd folder(
      check_entry(openat(place.folder.get(), place.name.c_str(), kFolder), place.path));
  apply_extended(entry, folder, place.path);
  note_folder(place.path, attributes);
}

void Unpacker::note_folder(const std::string& path, const Attributes& attributes) {
  if (folders_.insert_or_assign(path, attributes).second) {
    folder_bytes_ += path.size() + sizeof(Attributes);
  }
  if (folder_bytes_ > kMaxFolderBytes) throw Failure(name_ + ": has too many directories");
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

void Unpacker::apply_extended(archive_entry* entry, const UniqueFd& file, const std::string& path) {
  // As with tar --xattrs, we go on if the file system does not support them or we may not set them.
  const std::string where = name_ + ": " + shown(path);
  for (const auto& [name, value] : extended_attributes_of(entry, where, left_.attribute_bytes)) {
    (void)fsetxattr(file.get(), name.c_str(), value.data(), value.size(), 0);
  }
}

void Unpacker::apply(const UniqueFd& file, const Place& place, const Attributes& attributes) const {
  if (privileged_) {
    check_entry(fchown(file.get(), attributes.uid, attributes.gid), place.path);
  }
  check_entry(fchmod(file.get(), attributes.mode), place.path);  // chown(2) removes set-user-ID
  check_entry(futimens(file.get(), attributes.times), place.path);
}

// Each directory after its content, because its mode may deny access to us, and its time changes
// with its content.
void Unpacker::set_attributes_of_folders() {
  for (auto it = folders_.rbegin(); it != folders_.rend(); ++it) {
    throw_if_interrupted();
    const auto& [path, attributes] = *it;
    const UniqueFd folder = open_folder(path);
    if (folder.get() == -1) continue;  // another entry has taken its place
    apply(folder, {UniqueFd(), "", path}, attributes);
  }
}

}  // namespace

FileDigest unpack_layer(const UniqueFd& tar, const std::string& name, const std::string& directory,
                        UnpackLimits& left) {
  LayerSource source(tar, name, left);
  if (source.is_empty()) return source.finish();
  const std::unique_ptr<archive, decltype(&archive_read_free)> reader(archive_read_new(),
                                                                      archive_read_free);
  if (reader == nullptr) throw Failure(ENOMEM, "archive_read_new()");
  archive_read_support_format_tar(reader.get());
  Unpacker unpacker(reader.get(), source, name, directory, left);
  if (archive_read_open(reader.get(), &source, nullptr, LayerSource::read_part, nullptr) !=
      ARCHIVE_OK) {
    source.rethrow_failure();
    throw Failure(name + ": " + reason_of(reader.get()));
  }
  unpacker.unpack();
  return source.finish();
}

}  // namespace box
