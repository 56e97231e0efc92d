// Ctrl-C, Ctrl-Z and the terminal, for a command in a process group of its own.
#pragma once

#include <sys/types.h>

#include "stages/01_exec/companion.h"
#include "stages/01_exec/terminal.h"

namespace box {

// Raises `signal`, which stops us, or our whole process group. Returns whether we were stopped and
// then continued: in a group that no shell looks after ("orphaned") the kernel discards such a
// signal, because no process would ever continue us.
[[nodiscard]] bool stop_ourselves(int signal, bool our_group);

// In the parent, while the command runs. To the shell that started us, we are the job: the command
// stops when we are stopped; and if the command is stopped, by Ctrl-Z or because it reads from the
// terminal in the background, we stop too.
//
// A process outside the command's process group cannot see what the terminal does to the group; and
// PID 1 of a namespace is not even stopped by it, see pid_namespaces(7). So we put a process of
// ours into the group, the sentinel, which does nothing: whatever happens to the sentinel has
// happened to the group, and wait(2) reports it. A command that kills the sentinel loses only its
// job control, until we start another sentinel.
class JobControl : public Companion {
 public:
  JobControl();
  ~JobControl() override;

  void start(pid_t child) override;
  [[nodiscard]] int add_to(std::vector<pollfd>& /*events*/) override { return -1; }
  [[nodiscard]] int serve() override;
  void child_has_stopped(int signal) override;
  void stop() override;
  void go_on() override;
  [[nodiscard]] bool pass_on(int /*signal*/) override { return false; }

 private:
  void start_sentinel();
  void stop_with_child(int signal, bool our_group);

  Terminal terminal_;
  pid_t child_ = -1;
  pid_t sentinel_ = -1;
  bool needs_terminal_;            // the command reads from it, or is likely to
  bool child_is_stopped_ = false;  // by us
};

}  // namespace box
