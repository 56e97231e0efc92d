// Stage 01: fork, exec, wait.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "common/error_pipe.h"
#include "stages/01_exec/wait_for.h"

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
  // Makes the process by `fork_call`, which returns as fork(2) does and is called `call` in
  // messages. The parent gets this object; the child runs `body`, which must end in exec_command(),
  // and never returns from here.
  Child(const std::string& call, const std::function<pid_t()>& fork_call,
        const std::function<void()>& body);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }

  // For wait_for(): readable when has_started() has something new to say.
  [[nodiscard]] int error_pipe() const { return errors_.get(); }
  // Whether it has become the command; waits at most so many milliseconds, or for ever if that is
  // -1. Throws what the child threw.
  [[nodiscard]] bool has_started(int milliseconds);
  // Its status as of waitpid(2), which gets `options`, if there is a new one.
  [[nodiscard]] std::optional<int> new_status(int options);

 private:
  [[noreturn]] void live_as_child(const std::function<void()>& body) noexcept;

  ErrorPipe errors_;
  sigset_t signals_before_;
  pid_t pid_ = -1;
  bool reaped_ = false;
};

// Starts a child by fork(2).
[[nodiscard]] Child start_child(const std::function<void()>& body);

// In the child: makes the directory of --workdir if it is not there, as docker run does. Does
// nothing without --workdir.
void make_workdir(const ProcessOptions& process);

// What a later layer does when nothing but the execve(2) is left to do, and the descriptors that it
// needs for it.
struct LastStep {
  std::function<void()> run;
  std::vector<int> descriptors;
};

// In the child: replaces this process by the command, with `environment` and what --env adds.
// Returns only by throwing: 127 when the command is not found, 126 when it cannot be executed.
[[noreturn]] void exec_command(const ProcessOptions& process, Environment environment,
                               const LastStep& last_step = {});

// Our own environment, which exec(2) would pass on anyway.
[[nodiscard]] Environment host_environment();

}  // namespace box
