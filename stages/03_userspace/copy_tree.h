// Copies files as `cp -a --reflink=auto` does, into one directory and never outside it.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/unique_fd.h"

namespace box {

// How far a Copier has come.
struct Copied {
  std::uint64_t files = 0;  // all files but directories
  std::uint64_t bytes = 0;
  std::uint64_t skipped = 0;  // files that an ordinary user may not read, and device nodes
  std::string first_skipped;  // the path and the reason
};

// A copy keeps links as links, hard links, modes, times to the nanosecond, owners, extended
// attributes (also security.capability), holes. If we are an ordinary user, all copies belong to
// us, without setuid and setgid bits: otherwise a setuid program would run as us for every other
// user.
//
// Every path within the root is looked up as in a container with that root, see RESOLVE_IN_ROOT in
// openat2(2): no link in the root, however hostile, leads out of it.
class Copier {
 public:
  // `root` exists. `on_progress` is called for each file, and every few megabytes of a large one.
  explicit Copier(
      const std::string& root,
      std::function<void(const Copied&)> on_progress = [](const Copied&) {});

  // The same for an open directory, which is called `name` in messages.
  Copier(UniqueFd root, std::string name);

  // Copies the file or directory `from` of the host to `to` in the root, whose parent exists ("."
  // for the root itself). If `to` is a directory already, the content of `from` is added to it; any
  // other file at `to` is replaced.
  void copy_tree(const std::string& from, const std::string& to);

  // Copies the file or directory `path` of the host to the same path in the root. Each link on the
  // way is copied too, and followed: /lib64/ld-linux-x86-64.so.2 brings /lib64 -> usr/lib64, and
  // the file that is finally found at /usr/lib/x86_64-linux-gnu. Directories on the way get the
  // same mode and owner as on the host. If the root has a directory where the host has a link to
  // one, the root's directory stays.
  void copy_with_links(const std::string& path);

  // The same for the directory `path`, without its content.
  void make_folder_with_links(const std::string& path);

  [[nodiscard]] const Copied& copied() const { return copied_; }

 private:
  // A name in an open directory, and its path for messages.
  struct Place {
    int folder;
    std::string name;
    std::string path;
  };
  using FileId = std::pair<dev_t, ino_t>;

  // Returns -1 with errno for a directory that cannot be opened.
  [[nodiscard]] UniqueFd open_in_root(const std::string& folder) const;
  enum class LastFolder { kWhole, kEmpty };
  void walk(const std::string& path, LastFolder last);
  void make_folder(const Place& from, const Place& to, const struct stat& st);

  void copy(const Place& from, const Place& to, const struct stat& st);
  void copy_folder(const Place& from, const Place& to, const struct stat& st);
  [[nodiscard]] bool link_to_copy(const Place& to, const struct stat& st);
  // These three return false for a file that is skipped.
  [[nodiscard]] bool copy_file(const Place& from, const Place& to, struct stat st);
  [[nodiscard]] bool copy_link(const Place& from, const Place& to, const struct stat& st);
  [[nodiscard]] bool make_node(const Place& from, const Place& to, const struct stat& st);

  void copy_content(int in, int out, const Place& from, const struct stat& st);
  void copy_range(int in, int out, const Place& from, dev_t device, off_t offset, off_t end);
  void read_and_write(int in, int out, const Place& from, off_t offset, off_t end);

  [[nodiscard]] bool may_skip(int error) const;
  bool skip(const Place& from, int error);
  void report(std::uint64_t bytes);

  std::string root_;
  UniqueFd root_fd_;
  FileId root_id_;
  bool privileged_;
  std::function<void(const Copied&)> on_progress_;
  Copied copied_;

  std::map<FileId, std::string> copies_;  // of files with several names: where the first one is
  std::set<std::string> copied_with_links_;
  std::set<dev_t> without_reflinks_;  // file systems whose files cannot be cloned to the root
  std::set<dev_t> without_copy_range_;
  std::vector<char> buffer_;
};

}  // namespace box
