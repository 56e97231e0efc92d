#include "stages/11_oci/mount_ids.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "stages/05_userns/id_map.h"

namespace box {
namespace {

// A process that does nothing but have a user namespace, which the kernel needs as a map.
class Holder {
 public:
  explicit Holder(pid_t parent)
      : pid_(static_cast<pid_t>(
            check(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr),
                  "clone(CLONE_NEWUSER) for a mount"))) {
    if (pid_ != 0) return;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == parent) (void)pause();
    _exit(0);
  }
  ~Holder() {
    (void)kill(pid_, SIGKILL);
    (void)TEMP_FAILURE_RETRY(waitpid(pid_, nullptr, 0));
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  [[nodiscard]] UniqueFd namespace_with(const ConfigMount& mount) const {
    IdOptions ids;
    ids.uid_map = mount.uid_map;
    ids.gid_map = mount.gid_map;
    write_id_maps(pid_, ids);
    const std::string path = fmt::format("/proc/{}/ns/user", pid_);
    return UniqueFd(check_quietly(open(path.c_str(), O_RDONLY | O_CLOEXEC), "open({})", path));
  }

 private:
  pid_t pid_;
};

}  // namespace

void map_ids_of(const UniqueFd& copy, const ConfigMount& mount) {
  const Holder holder(getpid());
  const UniqueFd user_namespace = holder.namespace_with(mount);
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<std::uint64_t>(user_namespace.get());
  const unsigned flags = AT_EMPTY_PATH | (mount.maps_ids_below ? AT_RECURSIVE : 0);
  if (mount_setattr(copy.get(), "", flags, &attr, sizeof attr) == 0) return;
  throw Failure(
      errno, fmt::format("mounts: {}: mount_setattr({}, IDMAP)", mount.destination, mount.source),
      kExitSetupFailed,
      geteuid() == 0 ? "the file system there cannot show its files with other owners"
                     : "only root of the host can give a mount ids of its own");
}

}  // namespace box
