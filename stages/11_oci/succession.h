// Stage 11: how a process gets into a PID namespace whose other processes could look into it.
#pragma once

#include <functional>
#include <vector>

#include "common/fd_channel.h"
#include "stages/01_exec/process.h"

namespace box {

// A process that has CAP_SYS_PTRACE in the user namespace of one that it can see can look into
// that, see ptrace(2): its root, its working directory, its descriptors, its memory; and can make
// it do what it likes with its rights. Only at its birth does a process enter a PID namespace, see
// pid_namespaces(7). So one process, which the container cannot see, does all the work, and when
// only the execve(2) is left to do, a successor is born inside: it has the command's root and
// rights.
class Succession {
 public:
  Succession();

  // In the child, which leads a session: returns only in the successor, which leads another one and
  // has the terminal, as soon as the parent knows of it. All descriptors but `needed` and 0, 1, 2
  // are closed.
  void hand_over(std::vector<int> needed);
  // In the parent: waits for the successor, and then for `note`. If the child fails before that,
  // its error pipe says why.
  void follow(Child& child, const std::function<void()>& note);

 private:
  FdChannel parent_end_;
  FdChannel child_end_;
};

// In the child: overwrites our caller's environment, which is of no concern to processes that can
// read our memory.
void forget_environment();

}  // namespace box
