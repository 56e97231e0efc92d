// Ctrl-C, Ctrl-Z and the terminal, for a command in a process group of its own.
#pragma once

#include <sys/types.h>

#include "stages/01_exec/terminal.h"

namespace box {

// In the parent, while the command runs. To the shell that started us, we are the job: the command
// stops when we are stopped; and if the command is stopped, by Ctrl-Z or because it reads from the
// terminal in the background, we stop too.
//
// A process outside the command's process group cannot see what the terminal does to the group; and
// PID 1 of a namespace is not even stopped by it, see pid_namespaces(7). So we put a process of
// ours into the group, the sentinel, which does nothing: whatever happens to the sentinel has
// happened to the group, and wait(2) reports it. A command that kills the sentinel loses only its
// job control, until we start another sentinel.
class JobControl {
 public:
  // `child` leads its process group.
  explicit JobControl(pid_t child);
  ~JobControl();
  JobControl(const JobControl&) = delete;
  JobControl& operator=(const JobControl&) = delete;

  // To be called at each SIGCHLD. Returns SIGINT, SIGQUIT or SIGHUP if the terminal has sent that
  // signal to the command's group, otherwise 0.
  int look_at_sentinel();
  // The child was stopped by this signal, which did not come from us.
  void child_has_stopped(int signal);
  // We have received SIGTSTP, which the command's group has not: stops the group, then us.
  void stop();
  // We have received SIGCONT: perhaps we are in the foreground now.
  void go_on();

 private:
  void start_sentinel();
  void stop_with_child(int signal, bool our_group);

  Terminal terminal_;
  pid_t child_;
  pid_t sentinel_ = -1;
  bool needs_terminal_;            // the command reads from it, or is likely to
  bool child_is_stopped_ = false;  // by us
};

}  // namespace box
