#include "stages/06_pivot_root/mounts.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <string>

#include "common/check.h"
#include "common/mount_points.h"
#include "stages/05_userns/idmapped_mounts.h"
#include "stages/06_pivot_root/kernel_paths.h"
#include "stages/06_pivot_root/mount_point.h"

namespace box {
namespace {

constexpr unsigned kNoDevices = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr unsigned kDataOnly = kNoDevices | MOUNT_ATTR_NOEXEC;

std::string label_of_new_mounts;  // of SELinux

// See null(4), full(4), random(4) and tty(4).
constexpr struct {
  const char* name;
  unsigned major, minor;
} kDevices[] = {
    {"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
    {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0},
};

void set_attributes(const UniqueFd& mount, const std::string& path, unsigned attributes) {
  mount_attr attr = {};
  attr.attr_set = attributes;
  check(mount_setattr(mount.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr),
        "mount_setattr({}, {:#x})", path, attributes);
}

// Returns a detached copy of the mount at `path` and of those below it.
UniqueFd copy_mount(const std::string& path, unsigned attributes) {
  UniqueFd mount(
      check(open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE),
            "open_tree({}, CLONE|RECURSIVE)", path));
  set_attributes(mount, path, attributes);
  return mount;
}

// The same, unless the parent has made the copy already, and passed it by this path and `prefix`.
UniqueFd take_mount(const std::string& path, MountsByPath& shown, unsigned attributes,
                    const std::string& prefix = "") {
  UniqueFd mount = take(shown, prefix + path);
  if (mount.get() == -1) mount = private_copy(path, AT_RECURSIVE);
  set_attributes(mount, path, attributes);
  return mount;
}

// The host's device `name`, which the container may use but not change: mode, owner and times
// belong to the host's inode, and on a read-only mount these cannot be changed (EROFS), though the
// device can be written to.
UniqueFd copy_device(const char* name, unsigned major, unsigned minor) {
  const std::string path = std::string("/dev/") + name;
  UniqueFd mount = copy_mount(path, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  struct stat st = {};
  check_quietly(fstat(mount.get(), &st), "fstat({})", path);
  if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(major, minor)) {
    throw Failure(fmt::format("the host's {} is not the device {}:{}", path, major, minor));
  }
  return mount;
}

unsigned attributes_of(const Volume& volume) {
  return kNoDevices | (volume.read_only ? MOUNT_ATTR_RDONLY : 0U) |
         (volume.no_exec ? MOUNT_ATTR_NOEXEC : 0U);
}

// A directory may be the source of two volumes, one of them with :idmap.
constexpr const char* kAsItIs = "as it is: ";

UniqueFd take_volume(const Volume& volume, MountsByPath& shown) {
  const unsigned attributes = attributes_of(volume);
  if (volume.source.empty())
    return UniqueFd();  // belongs to the container's root, which we are not yet
  return take_mount(volume.source, shown, attributes, volume.idmap ? "" : kAsItIs);
}

// Attaches a mount to `name` in `folder`, in which no other process makes files.
void attach_in(const UniqueFd& folder, const std::string& name, const UniqueFd& mount) {
  check(move_mount(mount.get(), "", folder.get(), name.c_str(), MOVE_MOUNT_F_EMPTY_PATH),
        "move_mount({})", name);
}

void attach_dev(const UniqueFd& place, const std::vector<std::pair<std::string, UniqueFd>>& devices,
                OwnTerminal& terminal) {
  const UniqueFd dev = new_mount("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                                 {{"mode", "0755"}, {"size", "64k"}});
  attach_on(dev, place, "/dev");
  // Only the host's root may make a device node, see mknod(2); but root of any mount namespace may
  // bind-mount an existing one.
  const auto attach_device = [&](const std::string& name, const UniqueFd& mount) {
    check_quietly(mknodat(dev.get(), name.c_str(), S_IFREG | 0644, 0), "mknod(/dev/{})", name);
    attach_in(dev, name, mount);
  };
  for (const auto& [name, mount] : devices) attach_device(name, mount);
  const auto attach_new = [&](const char* name, const UniqueFd& mount) {
    check_quietly(mkdirat(dev.get(), name, 0755), "mkdir(/dev/{})", name);
    attach_in(dev, name, mount);
  };
  const UniqueFd devpts = new_mount("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                                    {{"mode", "0620"}, {"ptmxmode", "0666"}});
  attach_new("pts", devpts);
  if (const UniqueFd console = terminal.open_in(devpts); console.get() != -1) {
    attach_device("console", console);
  }
  attach_new("shm", new_mount("tmpfs", kDataOnly, {{"mode", "1777"}, {"size", "64m"}}));
  attach_new("mqueue", new_mount("mqueue", kDataOnly));

  const std::pair<const char*, const char*> kLinks[] = {
      {"pts/ptmx", "ptmx"},          {"/proc/self/fd", "fd"},       {"/proc/self/fd/0", "stdin"},
      {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
  };
  for (const auto& [target, link] : kLinks) {
    check_quietly(symlinkat(target, dev.get(), link), "symlink({}, /dev/{})", target, link);
  }
}

// Like docker run, those nearer to the root first, so that /data does not hide /data/cache.
void attach_volumes(const UniqueFd& root, std::vector<std::pair<Volume, UniqueFd>> volumes) {
  const auto depth = [](const auto& volume) {
    return std::count(volume.first.target.begin(), volume.first.target.end(), '/');
  };
  std::stable_sort(volumes.begin(), volumes.end(),
                   [&](const auto& a, const auto& b) { return depth(a) < depth(b); });
  for (auto& [volume, mount] : volumes) {
    if (mount.get() == -1) mount = new_mount("tmpfs", attributes_of(volume), volume.tmpfs);
    const UniqueFd place = make_mount_point(root, volume.target, is_directory(mount.get()));
    attach_on(mount, place, volume.target);
  }
}

Sysfs copy_sysfs(MountsByPath& shown) {
  constexpr unsigned kAttributes = kDataOnly | MOUNT_ATTR_RDONLY;
  // Only the owner of the network namespace, which is still the host's, may mount a new sysfs. In a
  // user namespace we can only copy the host's, with all mounts in it, because a copy must not
  // reveal what these cover, see mount_namespaces(7). The host's root may copy it without them.
  if (shown.count("/sys") > 0) return {take_mount("/sys", shown, kAttributes), {}};
  Sysfs sys = {copy_mount("/sys", kAttributes), {}};
  for (const auto& point : mount_points()) {
    const auto is_outer = [&](const std::string& other) { return is_in(point, other); };
    if (point != "/sys" && is_in(point, "/sys") &&
        std::none_of(sys.covered.begin(), sys.covered.end(), is_outer)) {
      sys.covered.push_back(point);
    }
  }
  return sys;
}

// A program that opens /dev/stderr opens the pipe again, and with --user it is another user than
// the pipe's owner. Other processes can reach a pipe only through /proc/PID/fd of a process that
// has it open, and for that they need more than this mode. It is not an error if the pipe belongs
// to another user.
void share_pipes() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    struct statfs fs = {};
    if (fstatfs(fd, &fs) == 0 && fs.f_type == PIPEFS_MAGIC) (void)fchmod(fd, 0666);
  }
}

// Adds copies of the volumes without :idmap to `taken`. The child could not make them where a
// directory on the way is closed to others, as /home/NAME often is: its rights end at its own ids,
// and those of our caller's root do not.
void take_volumes_as_they_are(const std::vector<Volume>& volumes, MountsByPath& taken) {
  for (const Volume& volume : volumes) {
    if (volume.source.empty() || volume.idmap) continue;
    taken.emplace(kAsItIs + volume.source, private_copy(volume.source, AT_RECURSIVE));
  }
}

}  // namespace

MountsByPath take_as_parent(std::vector<std::string> paths, const MountOptions& mounts, pid_t child,
                            const IdOptions& ids) {
  for (const Volume& volume : mounts.volumes) {
    if (volume.idmap) paths.push_back(volume.source);
  }
  share_pipes();
  MountsByPath taken = show_with_ids_inside(paths, child, ids);
  if (is_root_of_the_host()) {
    taken.emplace("/sys", private_copy("/sys", 0));
    in_mounts_of(child, [&] { take_volumes_as_they_are(mounts.volumes, taken); });
  }
  return taken;
}

HostMounts take_from_host(const MountOptions& mounts, MountsByPath& shown) {
  return take_from_host(mounts, shown, copy_sysfs(shown));
}

HostMounts take_from_host(const MountOptions& mounts, MountsByPath& shown, Sysfs sys) {
  HostMounts host;
  // In a user namespace the kernel mounts a new /proc only while another one is fully visible, see
  // "Restrictions on mount namespaces" in mount_namespaces(7). Without the old root there is none.
  host.proc = new_mount("proc", kDataOnly);
  host.sys = std::move(sys);
  for (const auto& [name, major, minor] : kDevices) {
    host.devices.emplace_back(name, copy_device(name, major, minor));
  }
  for (const Volume& volume : mounts.volumes) {
    host.volumes.emplace_back(volume, take_volume(volume, shown));
  }
  return host;
}

UniqueFd take_root(const std::string& root, MountsByPath& shown) {
  // A device node in an untrusted tree must not work: as the host's root we could open it.
  return take_mount(root, shown, MOUNT_ATTR_NODEV);
}

void pivot_into(const UniqueFd& root) {
  // pivot_root(2) requires that the new root is a mount point and not the current root. So we
  // attach it first, on top of the old root, where that needs no directory.
  attach_at(root, "/");
  check(fchdir(root.get()), "fchdir(the new root)");
  // Both arguments are the same directory: the old root is then stacked on top of the new one, and
  // needs no directory in it. Until it is unmounted we look up no path, because a ".." at the root
  // would lead to the old one.
  check(syscall(SYS_pivot_root, ".", "."), "pivot_root(., .)");
  check(umount2(".", MNT_DETACH), "umount2(., MNT_DETACH)");
  check(chdir("/"), "chdir(/)");
}

void attach(HostMounts& host, OwnTerminal& terminal) {
  const UniqueFd root(check_quietly(open("/", O_PATH | O_CLOEXEC), "open(/)"));
  attach_on(host.proc, make_real_directory(root, "proc"), "/proc");
  attach_on(host.sys.mount, make_real_directory(root, "sys"), "/sys");
  attach_dev(make_real_directory(root, "dev"), host.devices, terminal);
  hide_what_is_mounted_in_sys(host);
  attach_volumes(root, std::exchange(host.volumes, {}));
}

void make_root_read_only() {
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  check(mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof attr), "mount_setattr(/, RDONLY)");
}

void label_new_mounts(const std::string& label) { label_of_new_mounts = label; }

UniqueFd new_mount(const std::string& type, unsigned attributes,
                   const std::vector<std::pair<std::string, std::string>>& options,
                   const std::string& source) {
  const UniqueFd context(check_quietly(fsopen(type.c_str(), FSOPEN_CLOEXEC), "fsopen({})", type));
  const auto set = [&](const std::string& key, const std::string& value) {
    const auto command = value.empty() ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
    check_quietly(
        fsconfig(context.get(), command, key.c_str(), value.empty() ? nullptr : value.c_str(), 0),
        "fsconfig({}, {}={})", type, key, value);
  };
  set("source", source.empty() ? type : source);  // mount(8) shows it, otherwise "none"
  for (const auto& [key, value] : options) set(key, value);
  const bool takes_label = type == "tmpfs" || type == "devpts" || type == "overlay";
  if (!label_of_new_mounts.empty() && takes_label) set("context", label_of_new_mounts);
  check_quietly(fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0),
                "fsconfig({}, CREATE)", type);
  return UniqueFd(check(fsmount(context.get(), FSMOUNT_CLOEXEC, attributes), "fsmount({})", type));
}

void attach_at(const UniqueFd& mount, const std::string& path) {
  check(move_mount(mount.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH),
        "move_mount({})", path);
}

void attach_on(const UniqueFd& mount, const UniqueFd& place, const std::string& path) {
  check(move_mount(mount.get(), "", place.get(), "",
                   MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
        "move_mount({})", path);
}

}  // namespace box
