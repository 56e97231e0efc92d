#include "stages/06_pivot_root/kernel_paths.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "common/check.h"
#include "common/open_in_root.h"
#include "stages/06_pivot_root/mount_point.h"

namespace box {
namespace {

constexpr unsigned kDataOnly = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

// The paths that runc and Docker hide: https://github.com/moby/moby/blob/master/oci/defaults.go
constexpr const char* kMaskedInProc[] = {
    "asound",        "acpi",       "interrupts",  "kcore",       "keys",
    "latency_stats", "timer_list", "timer_stats", "sched_debug", "scsi",
};
constexpr const char* kMaskedInSys[] = {"firmware", "devices/virtual/powercap"};
constexpr const char* kReadOnlyInProc[] = {"bus", "fs", "irq", "sys", "sysrq-trigger"};

// Opens `path` in the mount `mount` itself, so that a file that someone has mounted in it is not
// mistaken for the kernel's. Returns -1 if this kernel has no such file.
UniqueFd open_on(const UniqueFd& mount, const std::string& path) {
  UniqueFd fd(open_in_root(mount.get(), path, O_PATH, RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV));
  if (fd.get() == -1 && errno != ENOENT) check_quietly(-1, "open({})", path);
  return fd;
}

// Returns a copy of an attached mount, or of the part of it that `what` has open, without the
// mounts on top of it: otherwise a volume on /dev/null would be copied, too, and be the mask.
UniqueFd copy_of(const UniqueFd& what, const std::string& path) {
  return UniqueFd(
      check_quietly(open_tree(what.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
                    "open_tree({}, CLONE)", path));
}

void make_read_only(const UniqueFd& what, const std::string& path) {
  const UniqueFd mount = copy_of(what, path);
  mount_attr attr = {};
  attr.attr_set = kDataOnly | MOUNT_ATTR_RDONLY;
  check_quietly(mount_setattr(mount.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr),
                "mount_setattr({}, {:#x})", path, attr.attr_set);
  attach_on(mount, what, path);
}

}  // namespace

void Covers::hide(const UniqueFd& what, const std::string& path) {
  if (!is_directory(what.get()) && !std::exchange(is_attached_, true)) {
    return attach_on(null_, what, path);
  }
  if (!is_directory(what.get())) return attach_on(copy_of(null_, "/dev/null"), what, path);
  if (folder_.get() != -1) return attach_on(copy_of(folder_, path), what, path);
  folder_ = new_mount("tmpfs", kDataOnly | MOUNT_ATTR_RDONLY);
  attach_on(folder_, what, path);
}

void hide_what_is_mounted_in_sys(const HostMounts& host) {
  Covers covers(host.devices.front().second);
  for (const auto& path : host.sys.covered) {
    // Without RESOLVE_NO_XDEV, because the mount at that path is the one to hide.
    const UniqueFd place(open_in_root(host.sys.mount.get(), path.substr(sizeof "/sys" - 1), O_PATH,
                                      RESOLVE_NO_SYMLINKS));
    if (place.get() == -1 && errno == EACCES) continue;  // no process inside can enter it either
    check_quietly(place.get(), "open({})", path);
    covers.hide(place, path);
  }
}

void protect_kernel_paths(const HostMounts& host) {
  Covers covers(host.devices.front().second);
  for (const std::string path : kMaskedInProc) {
    const UniqueFd fd = open_on(host.proc, path);
    if (fd.get() != -1) covers.hide(fd, "/proc/" + path);
  }
  for (const std::string path : kMaskedInSys) {
    const UniqueFd fd = open_on(host.sys.mount, path);
    if (fd.get() != -1) covers.hide(fd, "/sys/" + path);
  }
  for (const std::string path : kReadOnlyInProc) {
    const UniqueFd fd = open_on(host.proc, path);
    if (fd.get() != -1) make_read_only(fd, "/proc/" + path);
  }
}

}  // namespace box
