// Stage 04: PID, UTS, mount and IPC namespaces, see namespaces(7).
#pragma once

#include <sched.h>

#include <cstdint>
#include <functional>
#include <string>

#include "common/command_line.h"
#include "common/unique_fd.h"
#include "stages/01_exec/process.h"
#include "stages/04_namespaces/init.h"

namespace box {

// --hostname and --init
struct NamespaceOptions {
  explicit NamespaceOptions(CommandLine& line);

  std::string hostname;
  bool init = false;
};

// start_child(), but the child is born in new namespaces: `namespaces` are CLONE_NEW* flags.
[[nodiscard]] Child start_child_in(std::uint64_t namespaces, const std::function<void()>& body);

// What it is made of, for later layers: clone3(2), which answers as fork(2) does (`cgroup` is a
// descriptor, for CLONE_INTO_CGROUP), and "CLONE_NEWPID|CLONE_NEWUTS", for messages.
[[nodiscard]] pid_t clone_process(std::uint64_t flags, int cgroup = 0);
[[nodiscard]] std::string names_of(std::uint64_t flags);

// In the child: no mount from here on is seen outside, and none from outside here.
void make_mounts_private();

// In the child: the name that hostname(1) and uname(2) tell.
void set_hostname(const std::string& name);

// In the child, with its root in place: a /proc that shows the processes of its PID namespace.
void mount_proc();

// In the parent, before the child starts: a descriptor by which the child knows it.
[[nodiscard]] UniqueFd open_this_process();

// In the child, as late as possible: from here on the kernel kills it when `parent` dies, even of
// SIGKILL; and with PID 1 all of its PID namespace.
void die_with(const UniqueFd& parent);

// In the parent: wait_for(), for a child that is PID 1 of its namespace. Signals that it would
// never get are reported to the user; the third one kills it, as the third Ctrl-C ends docker run.
// It is killed, too, when this process is.
[[nodiscard]] int wait_for_pid_1(Child& child, Companion* companion = nullptr);

}  // namespace box
