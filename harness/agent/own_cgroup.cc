#include "harness/agent/own_cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <memory>
#include <sstream>
#include <string_view>
#include <vector>

#include "common/check.h"
#include "common/failure.h"
#include "common/remove_tree.h"
#include "common/write_file.h"

namespace box {
namespace {

constexpr std::string_view kPrefix = "box-agent-";

std::string find_mount_point() {
  std::ifstream mounts("/proc/self/mountinfo");
  std::string line;
  while (std::getline(mounts, line)) {
    if (line.find(" - cgroup2 ") == std::string::npos) continue;
    std::istringstream fields(line);
    std::string id, parent, device, root, point;
    fields >> id >> parent >> device >> root >> point;
    return point;
  }
  return "";
}

using Directory = std::unique_ptr<DIR, int (*)(DIR*)>;

std::vector<std::string> directories_in(int fd) {
  std::vector<std::string> names;
  const Directory directory(fdopendir(openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
                            closedir);
  while (const dirent* entry = directory ? readdir(directory.get()) : nullptr) {
    const std::string name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") names.push_back(name);
  }
  return names;
}

// If a process still runs there, it cannot be removed; the next agent tries again.
void remove_cgroup(int parent, const std::string& name) {
  try {
    remove_directories_at(parent, name);
  } catch (const Failure&) {
  }
}

// An agent holds this lock as long as it lives. Its process number would not say so: another agent
// may be in another PID namespace.
UniqueFd lock(int top, const std::string& name) {
  UniqueFd own(openat(top, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (own.get() != -1 && flock(own.get(), LOCK_EX | LOCK_NB) == -1) own.close();
  return own;
}

// Removes the cgroups of agents that were killed together with their parents.
void remove_left(int top) {
  for (const auto& name : directories_in(top)) {
    if (name.rfind(kPrefix, 0) != 0) continue;
    const UniqueFd own = lock(top, name);
    if (own.get() != -1) remove_cgroup(top, name);
  }
}

bool is_there(int top, const std::string& name, const UniqueFd& own) {
  struct stat there = {}, open = {};
  return fstatat(top, name.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 &&
         fstat(own.get(), &open) == 0 && there.st_ino == open.st_ino;
}

constexpr const char* kUsualPlace = "/sys/fs/cgroup";

// The cgroups of version 1 belong to the machine: a program must neither find them nor leave a
// directory beside them. On a machine that has them, cgroup v2 is mounted in one of the directories
// there.
void hide_other_hierarchies(const std::string& mount_point) {
  if (mount_point == kUsualPlace || access(kUsualPlace, F_OK) == -1) return;
  (void)umount2(kUsualPlace, MNT_DETACH);  // unless nothing is mounted there
  check_quietly(mount("tmpfs", kUsualPlace, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755"),
                "mount(tmpfs, {})", kUsualPlace);
  if (mount_point.rfind(kUsualPlace, 0) == 0) {
    check_quietly(mkdir(mount_point.c_str(), 0755), "mkdir({})", mount_point);
  }
}

// "0" means the process that writes.
void join(const std::string& cgroup) { write_file(cgroup + "/cgroup.procs", "0"); }

}  // namespace

OwnCgroup::OwnCgroup() : mount_point_(find_mount_point()) {
  if (mount_point_.empty()) return;
  UniqueFd top(open(mount_point_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (top.get() == -1) return;
  remove_left(top.get());
  // A process of another PID namespace may have our number, and another agent may have removed what
  // we had not locked yet.
  for (int i = 0; i < 1000; ++i) {
    const std::string name =
        std::string(kPrefix) + std::to_string(getpid()) + "-" + std::to_string(i);
    if (mkdirat(top.get(), name.c_str(), 0755) == -1) {
      if (errno == EEXIST) continue;
      return;
    }
    own_ = lock(top.get(), name);
    if (own_.get() == -1 || !is_there(top.get(), name, own_)) continue;
    name_ = name;
    top_ = std::move(top);
    return;
  }
}

void OwnCgroup::enter() {
  if (name_.empty()) return hide_other_hierarchies("");
  const std::string own = mount_point_ + "/" + name_;
  join(own);
  check_quietly(unshare(CLONE_NEWCGROUP), "unshare(CLONE_NEWCGROUP)");
  // A cgroup with processes cannot enable controllers for its children, see "no internal processes"
  // in cgroups(7). So we move into a child, as processes are on every host.
  const std::string agents = own + "/agent";
  check_quietly(mkdir(agents.c_str(), 0755), "mkdir({})", agents);
  join(agents);
  std::ifstream controllers(own + "/cgroup.controllers");
  for (std::string controller; controllers >> controller;) {
    std::ofstream(own + "/cgroup.subtree_control") << "+" << controller << std::flush;
  }
  check_quietly(umount2(mount_point_.c_str(), MNT_DETACH), "umount2({})", mount_point_);
  hide_other_hierarchies(mount_point_);
  check_quietly(
      mount("cgroup2", mount_point_.c_str(), "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr),
      "mount(cgroup2, {})", mount_point_);
}

void OwnCgroup::remove() {
  if (!name_.empty()) remove_cgroup(top_.get(), name_);
}

}  // namespace box
