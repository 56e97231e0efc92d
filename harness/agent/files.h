// Reads, examines, makes and removes files of the host for the harness.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace box {

// The result of reading a file: its text, or the errno of the failure.
struct FileText {
  int error = 0;
  std::string text;
};

[[nodiscard]] FileText read_text(const std::string& path, std::size_t limit);
[[nodiscard]] FileText read_fd(int fd, std::size_t limit);
[[nodiscard]] FileText read_link(const std::string& path);

struct FileStatus {
  int error = 0;
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  std::uint32_t mode = 0;
  std::uint32_t uid = 0;
  std::uint32_t gid = 0;
  std::uint32_t rdev_major = 0;
  std::uint32_t rdev_minor = 0;
  std::int64_t size = 0;
  bool is_mount_point = false;  // of the mount namespace of this process
};

[[nodiscard]] FileStatus status_of(const std::string& path, bool follow);

struct DirectoryList {
  int error = 0;
  std::vector<std::string> names;  // sorted, without "." and ".."
};

[[nodiscard]] DirectoryList list_directory(const std::string& path);

// Every path below `path`, with its kind, mode, owner and size, sorted. Does not enter mounts.
// If `below` is a directory, those in `path` that it has, too, with the same mode and owner, are
// left out: overlayfs has copied them up for a file in them that is written.
[[nodiscard]] std::vector<std::string> list_tree(const std::string& path, std::size_t limit,
                                                 int below = -1);

struct NewFile {
  enum class Kind { kFile, kDirectory, kLink, kDevice, kFifo };
  Kind kind = Kind::kFile;
  std::string path;
  std::string text;       // of a file, or the target of a link
  std::string copy_from;  // of a file: instead of `text`
  std::optional<unsigned> mode;
  std::optional<uid_t> uid;
  std::optional<gid_t> gid;
  unsigned major = 0;
  unsigned minor = 0;
};

// Throws Failure.
void make_file(const NewFile& file);

// rm -rf, but never into another mount, because a program under test may have bind-mounted a
// directory of the host there. Unmounts the mounts below first. Throws Failure if anything remains.
void remove_all(const std::string& path);

}  // namespace box
