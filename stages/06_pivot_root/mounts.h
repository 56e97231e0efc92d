// Stage 06: the container's mounts are its own; the host's are gone.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "common/unique_fd.h"
#include "stages/05_userns/handshake.h"
#include "stages/05_userns/id_map.h"
#include "stages/06_pivot_root/own_terminal.h"
#include "stages/06_pivot_root/volume.h"

namespace box {

// A sysfs, and the mount points in it ("/sys/kernel/debug").
struct Sysfs {
  UniqueFd mount;
  std::vector<std::string> covered;
};

// Mounts that are not attached yet: each exists only through its descriptor, see fsmount(2),
// open_tree(2).
struct HostMounts {
  UniqueFd proc;
  Sysfs sys;
  std::vector<std::pair<std::string, UniqueFd>> devices;  // "null" is the first
  std::vector<std::pair<Volume, UniqueFd>> volumes;
};

// In the parent, with the child's maps written: makes the mounts that only the host's root can
// make. Mounts of `paths` and of the volumes with :idmap show their files with the same ids inside;
// the other volumes are shown as they are.
[[nodiscard]] MountsByPath take_as_parent(std::vector<std::string> paths,
                                          const MountOptions& mounts, pid_t child,
                                          const IdOptions& ids);

// In the child: picks up everything that the container needs from the host, while host paths still
// resolve. It removes the mounts that it needs from `shown`. `sys` is used instead of a copy of the
// host's, if it is given.
[[nodiscard]] HostMounts take_from_host(const MountOptions& mounts, MountsByPath& shown);
[[nodiscard]] HostMounts take_from_host(const MountOptions& mounts, MountsByPath& shown, Sysfs sys);

// In the child: returns a copy of the mount at the directory `root`, and of those below it.
[[nodiscard]] UniqueFd take_root(const std::string& root, MountsByPath& shown);

// In the child: makes `root` the root mount, and detaches the old one with all mounts of the host.
// From here on no path, no ".." and no symbolic link in `root` can lead out of it.
void pivot_into(const UniqueFd& root);

// In the child: attaches the mounts that take_from_host() picked up, a /dev with the few devices
// that programs expect, and the volumes. Opens `terminal` in the new /dev. Afterwards only the
// container's own /proc, /sys and devices are still open.
void attach(HostMounts& host, OwnTerminal& terminal);

// In the child: --read-only. Mounts below / keep their own mode.
void make_root_read_only();

// Returns a new, detached instance of a file system that needs no device. `attributes` are those of
// fsmount(2); an option whose value is "" is a flag. The source is what mount(8) shows; "": the
// type.
[[nodiscard]] UniqueFd new_mount(
    const std::string& type, unsigned attributes,
    const std::vector<std::pair<std::string, std::string>>& options = {},
    const std::string& source = {});

// From now on new_mount() gives all files of what it makes this label of SELinux; "": none. In a
// user namespace only some file systems can have one: the others have their own.
void label_new_mounts(const std::string& label);

// Attaches a mount; if `path` ends in a symbolic link, to the link.
void attach_at(const UniqueFd& mount, const std::string& path);

// Attaches a mount to what `place` has open, called `path` in messages: no name is looked up.
void attach_on(const UniqueFd& mount, const UniqueFd& place, const std::string& path);

}  // namespace box
