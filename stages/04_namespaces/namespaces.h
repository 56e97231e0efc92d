// Stage 04: PID, UTS, mount, IPC and time namespaces, see namespaces(7).
#pragma once

#include <sched.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "common/command_line.h"
#include "common/unique_fd.h"
#include "stages/01_exec/process.h"
#include "stages/04_namespaces/init.h"
#include "stages/04_namespaces/time_namespace.h"

namespace box {

// --hostname, --uptime and --init
struct NamespaceOptions {
  explicit NamespaceOptions(CommandLine& line);

  std::string hostname;
  std::optional<std::int64_t> uptime;  // seconds
  bool init = false;
};

// start_child(), but the child is born in new namespaces: `namespaces` are CLONE_NEW* flags.
[[nodiscard]] Child start_child_in(std::uint64_t namespaces, const std::function<void()>& body);

// The parts of start_child_in(), for later layers: clone3(2), which returns as fork(2) does
// (`cgroup` is a descriptor, for CLONE_INTO_CGROUP), and the text "CLONE_NEWPID|CLONE_NEWUTS", for
// messages.
[[nodiscard]] pid_t clone_process(std::uint64_t flags, int cgroup = 0);
[[nodiscard]] std::string names_of(std::uint64_t flags);

// In the child: from here on the host does not see our mounts, and we do not see its new mounts.
void make_mounts_private();

// In the child: sets the name that hostname(1) and uname(2) return.
void set_hostname(const std::string& name);

// In the child, with its root in place: mounts a /proc that shows the processes of its PID
// namespace.
void mount_proc();

// In the parent, before the child starts: returns a pidfd by which the child recognizes its parent.
[[nodiscard]] UniqueFd open_this_process();

// In the child, as late as possible: from here on the kernel kills the child when `parent` dies,
// even of SIGKILL; and with PID 1 it kills all processes of the PID namespace.
void die_with(const UniqueFd& parent);

// Whether `process` gets `signal` if it is PID 1. The kernel discards signals for which PID 1 has
// no handler and which it does not block, so that nothing can end it by accident, see
// pid_namespaces(7). Only SIGKILL and SIGSTOP from outside always work.
[[nodiscard]] bool takes_signal(pid_t process, int signal);

// In the parent: wait_for(), for a child that is PID 1 of its namespace. Signals that the kernel
// would discard are reported to the user; the third one kills the child, as the third Ctrl-C ends
// docker run. The child is also killed if this process is killed.
[[nodiscard]] int wait_for_pid_1(Child& child, Companion* companion = nullptr);

}  // namespace box
