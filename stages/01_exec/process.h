// Stage 01: fork, exec, wait.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "common/error_pipe.h"
#include "stages/01_exec/terminal.h"

namespace box {

using Environment = std::map<std::string, std::string>;

// -e/--env, -w/--workdir and COMMAND.
struct ProcessOptions {
  explicit ProcessOptions(CommandLine& line);

  std::vector<std::string> command;
  Environment environment;
  std::string workdir;
};

// A child process that builds the container and then runs the command. If it is not waited for,
// because something failed in the parent, it is killed: no child outlives its Child.
class Child {
 public:
  // Makes the process by `fork_call`, which answers as fork(2) does and is called `call` in
  // messages, and runs `body` in it. `body` must end in exec_command().
  Child(const std::string& call, const std::function<pid_t()>& fork_call,
        const std::function<void()>& body);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  friend int wait_for(Child& child, const std::function<void(int)>& after_signal);

  Terminal terminal_;
  ErrorPipe errors_;
  sigset_t signals_before_;
  pid_t pid_ = -1;
  bool reaped_ = false;
};

// Starts a child by fork(2).
[[nodiscard]] Child start_child(const std::function<void()>& body);

// In the child: replaces this process by the command, with `environment` and what --env adds.
// Returns only by throwing: 127 when the command is not found, 126 when it cannot be executed.
// `at_last` is called when nothing but the execve(2) is left to do.
[[noreturn]] void exec_command(const ProcessOptions& process, Environment environment,
                               const std::function<void()>& at_last = {});

// Our own environment, which exec(2) would pass on anyway.
[[nodiscard]] Environment host_environment();

// In the parent: forwards signals until the child has ended, and answers as a shell does: its exit
// status, or 128 + the signal that ended it. Throws what the child threw on its way to exec.
// `after_signal` is told of each signal that the child should have by now.
[[nodiscard]] int wait_for(Child& child, const std::function<void(int)>& after_signal = {});

// The exit status that a shell gives for this status of wait(2).
[[nodiscard]] int exit_status_of(int wait_status);

// SIGTERM and the like, which are meant for the command, and SIGCHLD.
[[nodiscard]] sigset_t forwarded_signals_and_sigchld();

// Sends `signal` on to `child`, unless it came from the terminal (`code`, the si_code of
// sigaction(2), is SI_KERNEL) and so went to the child, too.
void forward_signal(pid_t child, int signal, int code);

}  // namespace box
