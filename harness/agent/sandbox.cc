#include "harness/agent/sandbox.h"

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <filesystem>
#include <iterator>
#include <utility>

#include "common/check.h"
#include "common/extended_attributes.h"
#include "common/remove_tree.h"
#include "common/unique_fd.h"
#include "common/write_file.h"
#include "harness/agent/own_cgroup.h"

namespace box {
namespace {

void mount_new(const char* type, const char* path, const char* options) {
  if (mkdir(path, 0755) == -1 && errno != EEXIST)
    return;  // then this host has none, which does not matter
  check_quietly(mount(type, path, type, MS_NOSUID | MS_NODEV | MS_NOEXEC, options), "mount({}, {})",
                type, path);
}

void make_mount_point(const std::string& path, const UniqueFd& tree) {
  struct stat st = {};
  check_quietly(fstat(tree.get(), &st), "fstat()");
  const std::filesystem::path point(path);
  std::filesystem::create_directories(S_ISDIR(st.st_mode) ? point : point.parent_path());
  if (!S_ISDIR(st.st_mode) && !std::filesystem::exists(point)) {
    check_quietly(mknod(path.c_str(), S_IFREG, 0), "mknod({})", path);
  }
}

constexpr const char* kScratch[] = {"/tmp", "/var/tmp", "/var/cache"};

bool is_scratch(const std::string& path) {
  return std::any_of(std::begin(kScratch), std::end(kScratch),
                     [&](const std::string& folder) { return path.rfind(folder + "/", 0) == 0; });
}

UniqueFd copy_mount(const std::string& path) {
  return UniqueFd(check_quietly(
      open_tree(AT_FDCWD, path.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE),
      "open_tree({})", path));
}

void attach_at(const UniqueFd& mount, const std::string& path) {
  check_quietly(move_mount(mount.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH),
                "move_mount({})", path);
}

// On the disk, for a kernel whose tmpfs does not support the attributes that a container's
// overlayfs needs.
class ScratchOnDisk {
 public:
  ScratchOnDisk()
      : parent_(
            check_quietly(open(kParent, O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open({})", kParent)) {
    if (tmpfs_keeps_user_attributes()) return;
    path_ = std::string(kParent) + "/agent-XXXXXX";
    check_quietly(mkdtemp(path_.data()) == nullptr ? -1 : 0, "mkdtemp({})", path_);
    check_quietly(chmod(path_.c_str(), 0711), "chmod({})", path_);
  }

  // A mount of it for each directory of kScratch; none if a tmpfs suffices.
  [[nodiscard]] std::vector<UniqueFd> mounts() const {
    std::vector<UniqueFd> mounts;
    if (path_.empty()) return mounts;
    for (std::size_t i = 0; i < std::size(kScratch); ++i) {
      const std::string folder = path_ + "/" + std::to_string(i);
      check_quietly(mkdir(folder.c_str(), 0755), "mkdir({})", folder);
      check_quietly(chmod(folder.c_str(), 01777), "chmod({})", folder);
      mounts.push_back(copy_mount(folder));
    }
    return mounts;
  }

  // When it is not in use any more. A mount covers its path by now, but not seen from its own
  // directory.
  void remove() {
    if (path_.empty()) return;
    check_quietly(fchdir(parent_.get()), "fchdir({})", kParent);
    remove_tree(path_.substr(path_.rfind('/') + 1));
  }

 private:
  static constexpr const char* kParent = "/var/tmp";
  UniqueFd parent_;
  std::string path_;
};

// Covers the directories to which every program writes, and shows in them only what is `kept`.
void mount_new_scratch(const std::vector<std::string>& kept, const ScratchOnDisk& disk) {
  std::vector<std::pair<std::string, UniqueFd>> mounts;
  for (const auto& path : kept) mounts.emplace_back(path, copy_mount(path));
  const std::vector<UniqueFd> on_disk = disk.mounts();
  for (std::size_t i = 0; i < std::size(kScratch); ++i) {
    if (!on_disk.empty()) {
      attach_at(on_disk[i], kScratch[i]);
    } else {
      check_quietly(mount("tmpfs", kScratch[i], "tmpfs", 0, "mode=1777"), "mount(tmpfs, {})",
                    kScratch[i]);
    }
  }
  for (const auto& [path, tree] : mounts) {
    if (!is_scratch(path)) continue;
    make_mount_point(path, tree);
    attach_at(tree, path);
  }
}

constexpr const char* kKept[] = {"/run", "/var/lib"};

std::vector<WrittenFolder>& written() {
  static std::vector<WrittenFolder> folders;
  return folders;
}

// Mounts an empty layer on top of the directories in which programs store their state: existing
// files stay visible, and changes go to that layer, which ends with us.
void protect_kept_folders() {
  const std::string layers = std::string(kScratch[0]) + "/agent-layers";
  check_quietly(mkdir(layers.c_str(), 0700), "mkdir({})", layers);
  check_quietly(mount("tmpfs", layers.c_str(), "tmpfs", 0, "mode=755"), "mount({})", layers);
  // Not one of the numbers that programs under test get, see supervisor.cc.
  const UniqueFd top(
      check_quietly(open(layers.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC), "open({})", layers));
  const int number = check_quietly(fcntl(top.get(), F_DUPFD_CLOEXEC, 64), "dup()");
  for (std::size_t i = 0; i < std::size(kKept); ++i) {
    const std::string upper = std::to_string(i) + "-upper";
    const std::string work = std::to_string(i) + "-work";
    struct stat st = {};
    if (stat(kKept[i], &st) == -1) continue;
    for (const auto& name : {upper, work}) {
      const std::string path = layers + "/" + name;
      check_quietly(mkdir(path.c_str(), 0755), "mkdir({})", path);
      check_quietly(chmod(path.c_str(), st.st_mode & 07777), "chmod({})", path);
    }
    // As with `number`. It stays open as long as we live.
    const UniqueFd host(
        check_quietly(open(kKept[i], O_PATH | O_DIRECTORY | O_CLOEXEC), "open({})", kKept[i]));
    const int below = check_quietly(fcntl(host.get(), F_DUPFD_CLOEXEC, number + 1), "dup()");
    const std::string options = std::string("lowerdir=") + kKept[i] + ",upperdir=" + layers + "/" +
                                upper + ",workdir=" + layers + "/" + work;
    // The kernel limits how deep overlays can be stacked. /run is empty after each boot.
    if (mount("overlay", kKept[i], "overlay", 0, options.c_str()) == -1) {
      if (std::string(kKept[i]) != "/run") continue;
      check_quietly(mount("tmpfs", kKept[i], "tmpfs", 0, "mode=755"), "mount({})", kKept[i]);
      written().push_back({kKept[i], kKept[i], -1});
      continue;
    }
    written().push_back({kKept[i], "/proc/self/fd/" + std::to_string(number) + "/" + upper, below});
  }
  check_quietly(umount2(layers.c_str(), MNT_DETACH), "umount2({})", layers);
  check_quietly(rmdir(layers.c_str()), "rmdir({})", layers);
  (void)mkdir("/run/lock", 0755);  // often a mount of its own, which the new one covers
  (void)chmod("/run/lock", 01777);
}

// As on every host; a new network namespace has it down.
void bring_up_loopback() {
  const UniqueFd any(check_quietly(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket()"));
  ifreq request = {};
  std::string("lo").copy(request.ifr_name, sizeof request.ifr_name - 1);
  request.ifr_flags = IFF_UP;
  check_quietly(ioctl(any.get(), SIOCSIFFLAGS, &request), "ioctl(SIOCSIFFLAGS, lo)");
}

// Process numbers that no other agent's host uses at the same time, because programs under test use
// them in names. An abstract socket reserves them as long as we live, see unix(7). They are not
// small numbers, which a container's first processes have.
class OwnNumbers {
 public:
  OwnNumbers() : socket_(check_quietly(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket()")) {
    for (slot_ = 0; slot_ < kSlots - 1; ++slot_) {
      sockaddr_un address = {};
      address.sun_family = AF_UNIX;
      const std::string name = "box-agent-numbers-" + std::to_string(slot_);
      name.copy(address.sun_path + 1, sizeof address.sun_path - 1);
      const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
      if (bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), size) == 0) return;
    }
  }

  void begin() const {
    write_file("/proc/sys/kernel/ns_last_pid", std::to_string(kFirst + slot_ * kEach));
  }

 private:
  static constexpr int kSlots = 64;
  static constexpr int kFirst = 10000;
  static constexpr int kEach = 350;  // all below 32768, the smallest limit that a kernel has
  UniqueFd socket_;
  int slot_ = 0;
};

}  // namespace

const std::vector<WrittenFolder>& written_folders() { return written(); }

void enter_own_host(const std::vector<std::string>& kept) {
  OwnCgroup cgroup;
  const OwnNumbers numbers;
  check_quietly(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET),
                "unshare()");
  ScratchOnDisk disk;
  const pid_t child = check_quietly(fork(), "fork()");
  if (child != 0) {
    int status = 0;
    while (waitpid(child, &status, 0) == -1 && errno == EINTR) {
    }
    disk.remove();
    cgroup.remove();
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
  }
  check_quietly(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl(PR_SET_PDEATHSIG)");
  // First leave the real host's peer groups, then make new ones.
  check_quietly(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "mount(/, PRIVATE)");
  cgroup.enter();
  bring_up_loopback();
  mount_new("proc", "/proc", nullptr);
  mount_new("mqueue", "/dev/mqueue", nullptr);
  mount_new("tmpfs", "/dev/shm", "mode=1777");
  mount_new_scratch(kept, disk);
  protect_kept_folders();
  check_quietly(mount(nullptr, "/", nullptr, MS_REC | MS_SHARED, nullptr), "mount(/, SHARED)");
  numbers.begin();
}

}  // namespace box
