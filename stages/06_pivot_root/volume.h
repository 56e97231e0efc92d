// Stage 06: -v/--volume, --tmpfs and --read-only.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/command_line.h"

namespace box {

// A mount in the container that the caller asked for.
struct Volume {
  std::string source;  // on the host, absolute; "" for a new tmpfs
  std::string target;  // in the container, absolute
  bool read_only = false;
  bool no_exec = false;
  bool idmap = false;  // its files have the same ids inside as on the disk
  std::vector<std::pair<std::string, std::string>> tmpfs;  // "size", "64m" and so on, see tmpfs(5)
};

// Reads "HOST:CONTAINER[:OPTION,...]". Throws Failure.
[[nodiscard]] Volume parse_volume(const std::string& text);

// Reads "DIR[:OPTION,...]". Throws Failure.
[[nodiscard]] Volume parse_tmpfs(const std::string& text);

// Whether, by the text of /proc/self/mountinfo, the root file system is the initramfs that the
// kernel starts with and that can never be unmounted.
[[nodiscard]] bool root_is_initramfs(const std::string& mountinfo);

struct MountOptions {
  explicit MountOptions(CommandLine& line);

  std::vector<Volume> volumes;
  bool read_only = false;

 private:
  void add(const Volume& volume);
};

}  // namespace box
