// Stage 06: the container's mounts are its own; the host's are gone.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "common/command_line.h"
#include "common/unique_fd.h"

namespace box {

struct Volume {
  std::string source;  // on the host, absolute
  std::string target;  // in the container, absolute
  bool read_only = false;
};

// Reads "HOST:CONTAINER[:ro]". Throws Failure.
[[nodiscard]] Volume parse_volume(const std::string& text);

// -v/--volume and --read-only
struct MountOptions {
  explicit MountOptions(CommandLine& line);

  std::vector<Volume> volumes;
  bool read_only = false;
};

// Mounts that are attached nowhere yet: each lives in its descriptor, see fsmount(2), open_tree(2).
struct HostMounts {
  UniqueFd proc;
  UniqueFd sys;
  std::vector<std::pair<std::string, UniqueFd>> devices;  // "null" and so on
  std::vector<std::pair<Volume, UniqueFd>> volumes;
};

// In the child: takes what the container shall have of the host, while the host has names.
[[nodiscard]] HostMounts take_from_host(const MountOptions& mounts);

// In the child: a copy of the mount at the directory `root`, and of those below it.
[[nodiscard]] UniqueFd take_root(const std::string& root);

// In the child: `root` becomes the root mount, and the old one, with all of the host, is let go.
// From here on no path, no ".." and no symbolic link in `root` can lead out of it.
void pivot_into(const UniqueFd& root);

// In the child: mounts what was taken, a /dev with the few devices that programs expect, and the
// volumes.
void attach(const HostMounts& host);

// In the child: hides or write-protects what /proc and /sys tell and change of the whole machine.
void protect_kernel_paths();

// In the child: --read-only. What is mounted below / keeps its own mode.
void make_root_read_only();

// A new instance of a file system that needs no device, attached nowhere. `attributes` are those of
// fsmount(2); an option whose value is "" is a flag.
[[nodiscard]] UniqueFd new_mount(
    const std::string& type, unsigned attributes,
    const std::vector<std::pair<std::string, std::string>>& options = {});

// Attaches a mount. `flags` are those of move_mount(2): it follows no symbolic link in `path`
// unless told to.
void attach_at(const UniqueFd& mount, const std::string& path, unsigned flags = 0);

}  // namespace box
