#include "stages/11_oci/join_container.h"

#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "common/check.h"
#include "common/fd_channel.h"

namespace box {
namespace {

// Returns 0 in the successor, which has our parent.
pid_t join(UniqueFd init, int namespaces) {
  // Processes that share only the container's user namespace must not look into the successor, nor
  // take its descriptors, before the execve(2), see PR_SET_DUMPABLE in prctl(2).
  if (prctl(PR_SET_DUMPABLE, 0) == -1) return -1;
  // All at once, and with them the root directory: from here on no path is of the host.
  if (setns(init.get(), namespaces) == -1) return -1;
  init.close();
  return static_cast<pid_t>(syscall(SYS_clone, CLONE_PARENT, nullptr, nullptr, nullptr, nullptr));
}

// Returns only in the successor.
void become_successor(const FdChannel& parent, UniqueFd init, int namespaces,
                      const std::function<void()>& leave_host) noexcept {
  FdChannel::Message is_in_cgroup;
  if (!parent.receive(is_in_cgroup)) _exit(0);
  leave_host();
  const pid_t successor = join(std::move(init), namespaces);
  if (successor == 0) return;
  parent.send(std::to_string(successor == -1 ? -errno : successor));
  _exit(0);
}

// In the parent. Returns -1 and errno on failure, as fork(2) does.
pid_t wait_for_successor(const FdChannel& child, pid_t first, const Cgroup& cgroup) {
  if (cgroup.is_own()) cgroup.add(first);
  child.send("is in its cgroup");
  FdChannel::Message reply;
  const pid_t successor = child.receive(reply) ? std::stoi(reply.name) : -ESRCH;  // it was killed
  (void)waitpid(first, nullptr, 0);
  if (successor > 0) return successor;
  errno = -successor;
  return -1;
}

}  // namespace

// Processes of the container that have CAP_SYS_PTRACE in the user namespace of a process that they
// can see can look into it, see ptrace(2): its root, its working directory, its open files. Only at
// its birth does a process enter a PID namespace, see pid_namespaces(7). So one process, which the
// container cannot see, joins everything, and its successor is born inside.
Child start_session_with(UniqueFd init, int namespaces, const Cgroup& cgroup,
                         const std::function<void()>& leave_host,
                         const std::function<void()>& body) {
  const auto start = [&] {
    auto [parent_end, child_end] = FdChannel::make();
    const pid_t first = check(fork(), "fork()");
    if (first != 0) {
      child_end.close();
      return wait_for_successor(parent_end, first, cgroup);
    }
    parent_end.close();  // otherwise we would keep the channel from reaching end-of-file
    become_successor(child_end, std::move(init), namespaces, leave_host);
    return first;
  };
  return {"setns(init)", start, body, Child::Leads::kSession};
}

}  // namespace box
