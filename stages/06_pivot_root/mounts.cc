#include "stages/06_pivot_root/mounts.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <filesystem>
#include <string>

#include "common/check.h"

namespace box {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kNoDevices = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
constexpr unsigned kDataOnly = kNoDevices | MOUNT_ATTR_NOEXEC;

constexpr const char* kDevices[] = {"null", "zero", "full", "random", "urandom", "tty"};

// What runc and Docker hide: https://github.com/moby/moby/blob/master/oci/defaults.go
constexpr const char* kMasked[] = {
    "/proc/asound",      "/proc/acpi",          "/proc/interrupts", "/proc/kcore",
    "/proc/keys",        "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats",
    "/proc/sched_debug", "/proc/scsi",          "/sys/firmware",    "/sys/devices/virtual/powercap",
};

constexpr const char* kReadOnly[] = {
    "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
};

// Where the host has the terminal that is our stdin; "" if it is none. Its number in the host's
// /dev/pts means nothing in the container's own one.
std::string terminal_path() {
  char path[PATH_MAX];
  return ttyname_r(STDIN_FILENO, path, sizeof path) == 0 ? path : "";
}

// A copy of the mount at `path`, and of those below it, that is attached nowhere.
UniqueFd copy_mount(const std::string& path, unsigned attributes) {
  UniqueFd mount(
      check(open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE),
            "open_tree({}, CLONE|RECURSIVE)", path));
  mount_attr attr = {};
  attr.attr_set = attributes;
  check(mount_setattr(mount.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr),
        "mount_setattr({}, {:#x})", path, attributes);
  return mount;
}

void make_directory(const std::string& path) {
  if (mkdir(path.c_str(), 0755) == -1 && errno != EEXIST) check(-1, "mkdir({})", path);
}

// A place for /proc, /sys or /dev. Where a hostile root has a symbolic link there, what we hide
// below /proc would be hidden elsewhere.
void make_real_directory(const std::string& path) {
  make_directory(path);
  struct stat st = {};
  check_quietly(lstat(path.c_str(), &st), "lstat({})", path);
  if (!S_ISDIR(st.st_mode)) throw Failure(ENOTDIR, "the root's " + path);
}

// By mknod(2), which needs no privilege for a regular file: open(2) would wait at a FIFO.
void make_file(const std::string& path) {
  if (mknod(path.c_str(), S_IFREG | 0644, 0) == -1 && errno != EEXIST) {
    check(-1, "mknod({})", path);
  }
}

bool is_directory(int fd) {
  struct stat st = {};
  check_quietly(fstat(fd, &st), "fstat()");
  return S_ISDIR(st.st_mode);
}

// A volume's mount point, as docker run makes it: of the kind of what is mounted there.
void make_mount_point(const std::string& path, bool directory) {
  std::string made;
  for (const auto& part : fs::path(path).parent_path().relative_path()) {
    made += "/" + part.string();
    make_directory(made);
  }
  directory ? make_directory(path) : make_file(path);
}

void attach_dev(const std::vector<std::pair<std::string, UniqueFd>>& devices) {
  make_real_directory("/dev");
  attach_at(new_mount("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                      {{"mode", "0755"}, {"size", "64k"}}),
            "/dev");
  // Nobody but the host's root may make a device node, see mknod(2); but anybody with a mount
  // namespace may bind one that is there.
  for (const auto& [name, mount] : devices) {
    make_file("/dev/" + name);
    attach_at(mount, "/dev/" + name);
  }
  make_directory("/dev/pts");
  attach_at(new_mount("devpts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC,
                      {{"mode", "0620"}, {"ptmxmode", "0666"}}),
            "/dev/pts");
  make_directory("/dev/shm");
  attach_at(new_mount("tmpfs", kDataOnly, {{"mode", "1777"}, {"size", "64m"}}), "/dev/shm");
  make_directory("/dev/mqueue");
  attach_at(new_mount("mqueue", kDataOnly), "/dev/mqueue");

  const std::pair<const char*, const char*> kLinks[] = {
      {"pts/ptmx", "/dev/ptmx"},          {"/proc/self/fd", "/dev/fd"},
      {"/proc/self/fd/0", "/dev/stdin"},  {"/proc/self/fd/1", "/dev/stdout"},
      {"/proc/self/fd/2", "/dev/stderr"},
  };
  for (const auto& [target, link] : kLinks) {
    check_quietly(symlink(target, link), "symlink({}, {})", target, link);
  }
}

}  // namespace

Volume parse_volume(const std::string& text) {
  const auto first = text.find(':');
  const auto second = first == std::string::npos ? first : text.find(':', first + 1);
  if (first == std::string::npos || first == 0) throw Failure("is not HOST:CONTAINER[:ro]");
  Volume volume;
  volume.source = text.substr(0, first);
  volume.target = text.substr(first + 1, second - first - 1);
  if (second != std::string::npos) {
    const std::string mode = text.substr(second + 1);
    if (mode != "ro" && mode != "rw") throw Failure("ends in '" + mode + "', not in ro or rw");
    volume.read_only = mode == "ro";
  }
  volume.target = fs::path(volume.target).lexically_normal();
  if (volume.target.size() > 1 && volume.target.back() == '/') volume.target.pop_back();
  if (volume.target.empty() || volume.target.front() != '/' || volume.target == "/") {
    throw Failure("CONTAINER must be an absolute path below /");
  }
  return volume;
}

MountOptions::MountOptions(CommandLine& line) {
  line.add_option("-v,--volume", "HOST:CONTAINER[:ro]",
                  "show a file or directory of the host in the container",
                  [this](const std::string& text) {
                    Volume volume = parse_volume(text);
                    std::error_code error;
                    volume.source = fs::canonical(volume.source, error);
                    if (error) throw Failure(error.message());
                    volumes.push_back(volume);
                  });
  line.add_flag("--read-only", read_only, "the root file system cannot be written");
}

HostMounts take_from_host(const MountOptions& mounts) {
  HostMounts host;
  // In a user namespace the kernel mounts a new /proc only while another one is fully visible, see
  // "Restrictions on mount namespaces" in mount_namespaces(7): later it would be too late.
  host.proc = new_mount("proc", kDataOnly);
  // A new sysfs is for the owner of the network namespace, which is still the host's.
  host.sys = copy_mount("/sys", kDataOnly | MOUNT_ATTR_RDONLY);
  for (const char* name : kDevices) {
    host.devices.emplace_back(
        name, copy_mount(std::string("/dev/") + name, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
  }
  if (const std::string terminal = terminal_path(); !terminal.empty()) {
    host.devices.emplace_back("console",
                              copy_mount(terminal, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC));
  }
  for (const Volume& volume : mounts.volumes) {
    host.volumes.emplace_back(
        volume,
        copy_mount(volume.source, kNoDevices | (volume.read_only ? MOUNT_ATTR_RDONLY : 0U)));
  }
  return host;
}

UniqueFd take_root(const std::string& root) {
  // A device node in the tree of a stranger shall be dead: as the host's root we could open it.
  return copy_mount(root, MOUNT_ATTR_NODEV);
}

void pivot_into(const UniqueFd& root) {
  // pivot_root(2) wants a mount that is attached somewhere; on top of the old root any is.
  attach_at(root, "/");
  check(fchdir(root.get()), "fchdir(the new root)");
  // Both in one place: the old root then lies on top of the new one, and needs no directory in it.
  // In between we name nothing: a ".." at the root would lead to the old one.
  check(syscall(SYS_pivot_root, ".", "."), "pivot_root(., .)");
  check(umount2(".", MNT_DETACH), "umount2(., MNT_DETACH)");
  check(chdir("/"), "chdir(/)");
}

void attach(const HostMounts& host) {
  make_real_directory("/proc");
  attach_at(host.proc, "/proc");
  make_real_directory("/sys");
  attach_at(host.sys, "/sys");
  attach_dev(host.devices);
  for (const auto& [volume, mount] : host.volumes) {
    make_mount_point(volume.target, is_directory(mount.get()));
    attach_at(mount, volume.target, MOVE_MOUNT_T_SYMLINKS);  // /var/run may be a link: to ours
  }
}

void protect_kernel_paths() {
  for (const char* path : kMasked) {
    const UniqueFd fd(open(path, O_PATH | O_CLOEXEC));
    if (fd.get() == -1 && errno == ENOENT) continue;  // not every kernel has each
    check_quietly(fd.get(), "open({}, O_PATH)", path);
    attach_at(is_directory(fd.get()) ? new_mount("tmpfs", kDataOnly | MOUNT_ATTR_RDONLY)
                                     : copy_mount("/dev/null", 0),
              path);
  }
  for (const char* path : kReadOnly) {
    if (access(path, F_OK) == -1 && errno == ENOENT) continue;
    attach_at(copy_mount(path, kDataOnly | MOUNT_ATTR_RDONLY), path);
  }
}

void make_root_read_only() {
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_RDONLY;
  check(mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof attr), "mount_setattr(/, RDONLY)");
}

UniqueFd new_mount(const std::string& type, unsigned attributes,
                   const std::vector<std::pair<std::string, std::string>>& options) {
  const UniqueFd context(check_quietly(fsopen(type.c_str(), FSOPEN_CLOEXEC), "fsopen({})", type));
  const auto set = [&](const std::string& key, const std::string& value) {
    const auto command = value.empty() ? FSCONFIG_SET_FLAG : FSCONFIG_SET_STRING;
    check_quietly(
        fsconfig(context.get(), command, key.c_str(), value.empty() ? nullptr : value.c_str(), 0),
        "fsconfig({}, {}={})", type, key, value);
  };
  set("source", type);  // what mount(8) lists, instead of "none"
  for (const auto& [key, value] : options) set(key, value);
  check_quietly(fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0),
                "fsconfig({}, CREATE)", type);
  return UniqueFd(check(fsmount(context.get(), FSMOUNT_CLOEXEC, attributes), "fsmount({})", type));
}

void attach_at(const UniqueFd& mount, const std::string& path, unsigned flags) {
  check(move_mount(mount.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH | flags),
        "move_mount({})", path);
}

}  // namespace box
