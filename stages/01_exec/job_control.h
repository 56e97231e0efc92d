// Ctrl-C, Ctrl-Z and the terminal, for a command in a process group of its own.
#pragma once

#include <sys/types.h>

#include "stages/01_exec/terminal.h"

namespace box {

// In the parent, while the command runs. To the shell that has started us, we are the job: the
// command stops when we are stopped, and if it is stopped by Ctrl-Z, or because it reads from the
// terminal in the background, then so are we.
//
// What the terminal does to the command's process group cannot be seen from outside; and PID 1 of a
// namespace is not even stopped by it, see pid_namespaces(7). So we put a process of ours into the
// group, the sentinel, which does nothing: what happens to it has happened to the group, and
// wait(2) tells. A command that kills it loses nothing but its job control, until there is another
// one.
class JobControl {
 public:
  // `child` leads its process group.
  explicit JobControl(pid_t child);
  ~JobControl();
  JobControl(const JobControl&) = delete;
  JobControl& operator=(const JobControl&) = delete;

  // To be called at each SIGCHLD. Returns SIGINT, SIGQUIT or SIGHUP if the terminal has sent that
  // to the command's group, or 0.
  int look_at_sentinel();
  // The child has stopped by itself, by this signal.
  void child_has_stopped(int signal);
  // We have got SIGTSTP, which was not for the command's group: it and we stop.
  void stop();
  // We have got SIGCONT: perhaps we are in the foreground now.
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
