#include "stages/11_oci/container_mounts.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>

#include "common/check.h"
#include "common/mount_points.h"
#include "common/open_in_root.h"
#include "stages/03_userspace/copy_tree.h"
#include "stages/05_userns/id_map.h"
#include "stages/05_userns/idmapped_mounts.h"
#include "stages/06_pivot_root/kernel_paths.h"
#include "stages/06_pivot_root/mount_point.h"
#include "stages/11_oci/mount_ids.h"

namespace box {
namespace {

namespace fs = std::filesystem;

// What the parent passes, by name.
constexpr const char* kRoot = "root";
constexpr const char* kNull = "null";
std::string name_of_mount(std::size_t index) { return "mount " + std::to_string(index); }
std::string name_of_device(const std::string& path) { return "device " + path; }

bool is_cgroup(const ConfigMount& mount) {
  return mount.type == "cgroup" || mount.type == "cgroup2";
}

// Mount points, devices and links are yet to be made in a new one, for example in /dev.
bool becomes_read_only(const ConfigMount& mount) {
  return mount.type == "tmpfs" &&
         ((mount.attributes.set | mount.below.set) & MOUNT_ATTR_RDONLY) != 0;
}

void set_attributes(const UniqueFd& mount, const std::string& path, unsigned flags,
                    MountAttributes attributes, unsigned long propagation) {
  if (attributes.set == 0 && attributes.clear == 0 && propagation == 0) return;
  mount_attr attr = {};
  attr.attr_set = attributes.set;
  attr.attr_clr = attributes.clear;
  attr.propagation = propagation;
  check(mount_setattr(mount.get(), "", AT_EMPTY_PATH | flags, &attr, sizeof attr),
        "mount_setattr({}, set {:#x}, clear {:#x}, propagation {:#x})", path, attributes.set,
        attributes.clear, propagation);
}

void set_propagation(const UniqueFd& mount, const std::string& path, unsigned long propagation) {
  set_attributes(mount, path, (propagation & MS_REC) != 0 ? AT_RECURSIVE : 0, {},
                 propagation & ~static_cast<unsigned long>(MS_REC));
}

// Throws, if something is mounted below that would have to be left behind.
void refuse_to_uncover(const std::string& path) {
  for (const auto& point : mount_points()) {
    if (point == path || !is_in(point, path)) continue;
    throw Failure(EINVAL, "mounts: " + path, kExitSetupFailed,
                  "something is mounted at " + point +
                      ", and in a user namespace no mount may reveal what another one hides: the"
                      " option rbind shows both");
  }
  errno = EINVAL;
}

// `place` is what `path` leads to.
UniqueFd copy_of_host(const UniqueFd& place, const std::string& path, bool recursive) {
  const unsigned flags = recursive ? AT_RECURSIVE : 0;
  UniqueFd mount(
      open_tree(place.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | flags));
  if (mount.get() == -1 && errno == EINVAL && !recursive) refuse_to_uncover(path);
  check(mount.get(), "open_tree({}, CLONE{})", path, recursive ? "|RECURSIVE" : "");
  return mount;
}

// Not what the host mounts there later, and no mount of the container's on the host, unless the
// config says so.
UniqueFd copy_for(const ConfigMount& mount, const std::string& source) {
  UniqueFd copy = copy_of_host(open_resolved(source, O_PATH), source, mount.recursive);
  const unsigned long propagation =
      mount.propagation != 0 ? mount.propagation : MS_PRIVATE | MS_REC;
  set_propagation(copy, source, propagation);
  return copy;
}

UniqueFd read_only_device(const std::string& path) {
  // In a container of ours it may be a mount itself. In the host's /dev there may be links.
  const UniqueFd place(check_quietly(open(path.c_str(), O_PATH | O_CLOEXEC), "open({})", path));
  UniqueFd mount = copy_of_host(place, path, true);
  // The mode and the owner belong to the host's inode, so they must not be changed.
  set_attributes(mount, path, 0, {MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, 0},
                 MS_PRIVATE);
  return mount;
}

// Where the specification has file systems of the kernel's, and devices.
bool is_special(const std::string& path) {
  return path == "/dev" || is_in(path, "/proc") || is_in(path, "/sys");
}

// Where a hostile root has a link instead of /proc, what we hide there would be hidden elsewhere;
// and where its link leads to /dev, our devices would be made in what is mounted there.
UniqueFd place_for(const UniqueFd& root, const ConfigMount& mount, bool directory) {
  const std::string path = mount.destination;
  if (!is_special(path)) return make_mount_point(root, path, directory);
  if (mount.type != "proc" && mount.type != "sysfs" && path != "/dev") {
    return make_place_for_mount(root, path, directory);
  }
  UniqueFd place(open_in_root(root.get(), path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS));
  if (place.get() == -1 && errno == ENOENT) {
    (void)make_directories_in_root(root.get(), path);
    place = UniqueFd(open_in_root(root.get(), path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS));
  }
  check_quietly(place.get(), "open({})", path);
  return place;
}

// Without a path, because the container's /proc may not be there yet.
void copy_up(const UniqueFd& place, const UniqueFd& tmpfs, const std::string& path) {
  UniqueFd root(
      check_quietly(openat(tmpfs.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC), "open({})", path));
  check_quietly(fchdir(place.get()), "fchdir({})", path);
  Copier(std::move(root), path).copy_tree(".", ".");
  check_quietly(chdir("/"), "chdir(/)");
}

void make_link(const UniqueFd& dev, const char* target, const char* link) {
  if (symlinkat(target, dev.get(), link) == -1 && errno != EEXIST) {
    check_quietly(-1, "symlink({}, /dev/{})", target, link);
  }
}

// Only paths that exist are masked or made read-only, as the specification has it.
UniqueFd open_if_there(const UniqueFd& root, const std::string& path) {
  UniqueFd fd(open_in_root(root.get(), path, O_PATH));
  if (fd.get() == -1 && errno != ENOENT && errno != ENOTDIR) check_quietly(-1, "open({})", path);
  return fd;
}

void make_read_only(const UniqueFd& what, const std::string& path) {
  const UniqueFd mount(check_quietly(
      open_tree(what.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE),
      "open_tree({}, CLONE|RECURSIVE)", path));
  set_attributes(mount, path, AT_RECURSIVE, {MOUNT_ATTR_RDONLY, 0}, 0);
  attach_on(mount, what, path);
}

// Those of every container, see "Default Devices" in the runtime specification, and the config's.
std::vector<ConfigDevice> devices_of(const Config& config) {
  const auto device = [](const char* path, unsigned major, unsigned minor) {
    return ConfigDevice{path, S_IFCHR, major, minor, 0666, 0, 0};
  };
  std::vector<ConfigDevice> devices = {device("/dev/null", 1, 3),    device("/dev/zero", 1, 5),
                                       device("/dev/full", 1, 7),    device("/dev/random", 1, 8),
                                       device("/dev/urandom", 1, 9), device("/dev/tty", 5, 0)};
  devices.insert(devices.end(), config.devices.begin(), config.devices.end());
  return devices;
}

UniqueFd open_own_root() {
  return UniqueFd(check_quietly(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), "open(/)"));
}

}  // namespace

ContainerMounts::ContainerMounts(const Config& config, std::string cgroup)
    : config_(config), cgroup_(std::move(cgroup)) {}

// In a user namespace mknod(2) makes no device; and a node in a file system that is mounted nodev
// cannot be opened.
bool ContainerMounts::binds_devices() const {
  const bool has_dev =
      std::any_of(config_.mounts.begin(), config_.mounts.end(), [](const ConfigMount& mount) {
        return mount.destination == "/dev" && (mount.attributes.set & MOUNT_ATTR_NODEV) == 0;
      });
  return !config_.uid_map.empty() || !is_root_of_the_host() || !has_dev;
}

MountsByPath ContainerMounts::take_as_parent(pid_t child) const {
  if (geteuid() != 0) return {};  // an ordinary user may mount nothing in any namespace of the host
  // Without a user namespace, root inside may mount what it likes, and no flag is locked.
  if (config_.uid_map.empty()) return copies();
  MountsByPath taken;
  in_mounts_of(child, [&] { taken = copies(); });
  return taken;
}

MountsByPath ContainerMounts::copies() const {
  MountsByPath taken;
  UniqueFd root = copy_of_host(open_resolved(config_.rootfs, O_PATH), config_.rootfs, true);
  // The root must not be shared while we pivot, see pivot_root(2).
  const auto propagation = config_.root_propagation & ~static_cast<unsigned long>(MS_REC);
  set_propagation(
      root, config_.rootfs,
      (propagation == MS_SHARED || propagation == MS_SLAVE ? MS_SLAVE : MS_PRIVATE) | MS_REC);
  // A device node in an untrusted tree must not work; those of the config are in /dev.
  set_attributes(root, config_.rootfs, 0, {MOUNT_ATTR_NODEV, 0}, 0);
  taken.emplace(kRoot, std::move(root));
  taken.emplace(kNull, read_only_device("/dev/null"));
  for (std::size_t i = 0; i < config_.mounts.size(); ++i) {
    const ConfigMount& mount = config_.mounts[i];
    if (mount.is_bind()) {
      UniqueFd copy = copy_for(mount, mount.source);
      if (mount.maps_ids) map_ids_of(copy, mount);
      taken.emplace(name_of_mount(i), std::move(copy));
    }
    const bool own_view = (config_.new_namespaces & CLONE_NEWCGROUP) != 0;
    if (is_cgroup(mount) && !own_view && !cgroup_.empty()) {
      taken.emplace(name_of_mount(i), copy_for(mount, cgroup_));
    }
  }
  if (binds_devices()) {
    for (const ConfigDevice& device : devices_of(config_)) {
      taken.emplace(name_of_device(device.path), read_only_device(device.path));
    }
  }
  return taken;
}

UniqueFd ContainerMounts::make(const ConfigMount& mount, std::size_t index, MountsByPath& shown) {
  UniqueFd taken = take(shown, name_of_mount(index));
  if (taken.get() != -1) return taken;
  if (!is_cgroup(mount)) {
    return new_mount(mount.type, 0, mount.data, mount.source);
  }
  // As in stage 07: without a cgroup of its own the container sees none.
  return cgroup_.empty() ? new_mount("tmpfs", MOUNT_ATTR_RDONLY) : new_mount("cgroup2", 0);
}

void ContainerMounts::make_new(MountsByPath shown, const ContainerNamespaces& namespaces) {
  if (shown.empty()) shown = copies();
  root_ = take(shown, kRoot);
  null_ = take(shown, kNull);
  for (std::size_t i = 0; i < config_.mounts.size(); ++i) {
    const ConfigMount& mount = config_.mounts[i];
    // With neighbours it is made as soon as no root of the host's can be seen: by attach().
    const bool later = mount.type == "proc" && namespaces.has_neighbours();
    mounts_.push_back(later ? UniqueFd() : make(mount, i, shown));
  }
  for (auto& [name, mount] : shown) devices_.emplace_back(name, std::move(mount));
}

void ContainerMounts::attach_one(const ConfigMount& mount, const UniqueFd& fd,
                                 const UniqueFd& root) {
  // If the place is made for it, there is nothing to copy, and any user may write to it.
  const bool copies_up = mount.copy_up && open_if_there(root, mount.destination).get() != -1;
  const UniqueFd place = place_for(root, mount, is_directory(fd.get()));
  if (copies_up) copy_up(place, fd, mount.destination);
  MountAttributes own = mount.attributes;
  MountAttributes below = mount.below;
  if (becomes_read_only(mount)) {
    own.set &= ~static_cast<unsigned>(MOUNT_ATTR_RDONLY);
    below.set &= ~static_cast<unsigned>(MOUNT_ATTR_RDONLY);
  }
  set_attributes(fd, mount.destination, 0, own,
                 mount.is_bind() ? 0 : mount.propagation & ~static_cast<unsigned long>(MS_REC));
  set_attributes(fd, mount.destination, AT_RECURSIVE, below, 0);
  attach_on(fd, place, mount.destination);
}

void ContainerMounts::attach(Console& console, const ContainerNamespaces& namespaces) {
  const UniqueFd root = open_own_root();
  root_.close();
  for (std::size_t i = 0; i < mounts_.size(); ++i) {
    const ConfigMount& mount = config_.mounts[i];
    if (mounts_[i].get() == -1) {
      mounts_[i] =
          namespaces.mount_proc([&] { return new_mount("proc", 0, mount.data, mount.source); });
    }
    attach_one(mount, mounts_[i], root);
    if (mount.type == "devpts" && mount.destination == "/dev/pts") devpts_ = &mounts_[i];
    if (mount.type == "proc" && mount.destination == "/proc") proc_ = std::move(mounts_[i]);
  }
  make_devices(root);
  const UniqueFd none;
  attach_console(root, console.open_in(devpts_ != nullptr ? *devpts_ : none));
  for (std::size_t i = 0; i < mounts_.size(); ++i) {
    const ConfigMount& mount = config_.mounts[i];
    if (!becomes_read_only(mount)) continue;
    set_attributes(mounts_[i], mount.destination, 0, {MOUNT_ATTR_RDONLY, 0}, 0);
  }
  mounts_.clear();
}

void ContainerMounts::make_devices(const UniqueFd& root) {
  const bool is_hosts = std::any_of(
      config_.mounts.begin(), config_.mounts.end(),
      [](const ConfigMount& mount) { return mount.is_bind() && mount.destination == "/dev"; });
  if (is_hosts) return;  // it has its devices, and is not ours to change
  for (const ConfigDevice& device : devices_of(config_)) make_device(root, device);
  devices_.clear();
  const UniqueFd dev(open_in_root(root.get(), "/dev", O_PATH | O_DIRECTORY));
  check_quietly(dev.get(), "open(/dev)");
  make_link(dev, "/proc/self/fd", "fd");
  make_link(dev, "/proc/self/fd/0", "stdin");
  make_link(dev, "/proc/self/fd/1", "stdout");
  make_link(dev, "/proc/self/fd/2", "stderr");
  if (devpts_ != nullptr) {
    (void)unlinkat(dev.get(), "ptmx", 0);  // a device of the root's would be of another devpts
    make_link(dev, "pts/ptmx", "ptmx");
  }
}

void ContainerMounts::make_device(const UniqueFd& root, const ConfigDevice& device) {
  const fs::path path = fs::path(device.path).lexically_normal();
  const auto taken = std::find_if(devices_.begin(), devices_.end(), [&](const auto& entry) {
    return entry.first == name_of_device(device.path);
  });
  if (taken != devices_.end()) {
    const UniqueFd place = make_place_for_mount(root, path, false);
    return attach_on(taken->second, place, path);
  }
  const UniqueFd folder = make_directories_in_root(root.get(), path.parent_path());
  const std::string name = path.filename();
  const int made = mknodat(folder.get(), name.c_str(), device.type | device.mode,
                           makedev(device.major, device.minor));
  if (made == -1 && errno == EEXIST) {
    struct stat st = {};
    check_quietly(fstatat(folder.get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW), "stat({})",
                  device.path);
    const bool is_same =
        (st.st_mode & S_IFMT) == device.type &&
        (device.type == S_IFIFO || st.st_rdev == makedev(device.major, device.minor));
    if (is_same) return;
  }
  check(made, "mknod({}, {}:{})", device.path, device.major, device.minor);
  check_quietly(fchmodat(folder.get(), name.c_str(), device.mode, 0), "chmod({})", device.path);
  check_quietly(fchownat(folder.get(), name.c_str(), device.uid, device.gid, AT_SYMLINK_NOFOLLOW),
                "chown({})", device.path);
}

void ContainerMounts::attach_console(const UniqueFd& root, const UniqueFd& terminal) const {
  if (terminal.get() == -1) return;
  attach_on(terminal, make_place_for_mount(root, "/dev/console", false), "/dev/console");
}

void ContainerMounts::write_sysctl() const {
  if (config_.sysctl.empty()) return;
  if (proc_.get() == -1) throw Failure("linux.sysctl: no proc is mounted at /proc");
  for (const auto& [key, value] : config_.sysctl) {
    std::string path = "sys/" + key;
    std::replace(path.begin(), path.end(), '.', '/');
    const UniqueFd file(
        open_in_root(proc_.get(), path, O_WRONLY, RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV));
    check_quietly(file.get(), "linux.sysctl: open(/proc/{})", path);
    check(write(file.get(), value.data(), value.size()), "write(/proc/{}, \"{}\")", path, value);
  }
}

void ContainerMounts::protect() {
  const UniqueFd root = open_own_root();
  // With other runtimes, the working directory of an image need not be in it.
  const std::string& cwd = config_.process->cwd;
  if (open_if_there(root, cwd).get() == -1) (void)make_place_for_mount(root, cwd, true);
  Covers covers(null_, false);
  for (const auto& path : config_.read_only_paths) {
    const UniqueFd what = open_if_there(root, path);
    if (what.get() != -1) make_read_only(what, path);
  }
  for (const auto& path : config_.masked_paths) {
    const UniqueFd what = open_if_there(root, path);
    if (what.get() != -1) covers.hide(what, path);
  }
  null_.close();
  if (config_.read_only) make_root_read_only();
  if (config_.root_propagation != 0) {
    check(mount(nullptr, "/", nullptr, config_.root_propagation, nullptr),
          "mount(/, propagation {:#x})", config_.root_propagation);
  }
}

}  // namespace box
