#include "stages/05_userns/user_namespace_hint.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "common/mount_points.h"
#include "common/unique_fd.h"

namespace box {
namespace {

// The number in a file of /proc/sys, or -1 if this kernel has no such setting.
long read_sysctl(const std::string& name) {
  long value = -1;
  std::ifstream("/proc/sys/" + name) >> value;
  return value;
}

// Whether our root directory is not that of our mount namespace. If we are root, a child finds out:
// it joins the namespace that it is in already, which resets its root, see setns(2). An ordinary
// user sees at least whether a mount is on "/": in a chroot to a plain directory there is none.
bool is_in_chroot() {
  enum { kNo, kYes, kUnknown };
  const pid_t asked = fork();
  if (asked == 0) {
    struct stat ours;
    struct stat real;
    const UniqueFd own(open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
    if (stat("/", &ours) == -1 || setns(own.get(), CLONE_NEWNS) == -1 || stat("/", &real) == -1) {
      _exit(kUnknown);
    }
    _exit(ours.st_dev != real.st_dev || ours.st_ino != real.st_ino ? kYes : kNo);
  }
  int status = 0;
  if (asked != -1 && waitpid(asked, &status, 0) == asked && WIFEXITED(status) &&
      WEXITSTATUS(status) != kUnknown) {
    return WEXITSTATUS(status) == kYes;
  }
  for (const auto& point : mount_points()) {
    if (point == "/") return false;
  }
  return true;
}

// Returns the first mount that covers a part of /proc, or "": Docker and Podman mask /proc/kcore
// and others. In a user namespace the kernel mounts a new /proc only if all of an existing one is
// visible, but mounts on directories that it keeps empty for that purpose do not count.
std::string first_cover_of_proc() {
  const std::set<std::string> always_empty = {"/proc/fs/nfsd", "/proc/openprom",
                                              "/proc/sys/fs/binfmt_misc", "/proc/xen"};
  for (const auto& point : mount_points()) {
    if (point.rfind("/proc/", 0) == 0 && always_empty.count(point) == 0) return point;
  }
  return "";
}

// See "Seccomp" in proc_pid_status(5): 2 is a filter.
bool has_seccomp_filter() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line == "Seccomp:\t2") return true;
  }
  return false;
}

bool mentions(const Failure& failure, const std::string& call) {
  return std::string(failure.what()).find(call) != std::string::npos;
}

}  // namespace

std::string user_namespace_hint(const Failure& failure) {
  if (read_sysctl("user/max_user_namespaces") == 0) {
    return "user namespaces are switched off here: sudo sysctl -w user.max_user_namespaces=10000";
  }
  if (failure.error() == ENOSYS && mentions(failure, "clone3")) {
    return has_seccomp_filter()
               ? "a seccomp filter denies clone3(2), as Docker's does: docker run "
                 "--security-opt seccomp=unconfined --security-opt systempaths=unconfined"
               : "this kernel has no clone3(2), which came with Linux 5.3";
  }
  if (failure.error() != EPERM && failure.error() != EACCES) return "";

  if (geteuid() != 0 && read_sysctl("kernel/unprivileged_userns_clone") == 0) {
    return "ordinary users may not create a user namespace here: "
           "sudo sysctl -w kernel.unprivileged_userns_clone=1";
  }
  // Ubuntu 24.04: clone(2) succeeds, but AppArmor removes the new namespace's capabilities, and a
  // later call fails with EPERM or EACCES.
  if (geteuid() != 0 && read_sysctl("kernel/apparmor_restrict_unprivileged_userns") == 1) {
    return "AppArmor restricts user namespaces here (Ubuntu 23.10 and later): "
           "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0";
  }
  if (mentions(failure, "CLONE_NEWUSER") && is_in_chroot()) {
    return "a process in a chroot cannot create a user namespace, see clone(2); "
           "start it outside, or inside stage 06, which uses pivot_root";
  }
  if (mentions(failure, "proc")) {
    if (const std::string cover = first_cover_of_proc(); !cover.empty()) {
      return cover +
             " is masked here, as in Docker, and in a user namespace nobody may mount a /proc that"
             " shows more; docker run --security-opt systempaths=unconfined leaves it unmasked";
    }
  }
  return "";
}

}  // namespace box
