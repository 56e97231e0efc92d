// Stage 01: fork, exec, wait.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "common/error_pipe.h"
#include "stages/01_exec/environment.h"
#include "stages/01_exec/wait_for.h"

namespace box {

// -e/--env, --env-file, -w/--workdir and COMMAND.
struct ProcessOptions {
  ProcessOptions() = default;
  explicit ProcessOptions(CommandLine& line);

  std::vector<std::string> command;
  Environment environment;
  std::string workdir;
};

// A child process that builds the container and then runs the command. If the parent does not wait
// for it, because something failed in the parent, the destructor kills it: no child outlives its
// Child.
class Child {
 public:
  // What the child leads: a process group, which can be a job in our terminal, or from stage 06 on
  // a session, which can have a terminal of its own, see credentials(7).
  enum class Leads { kGroup, kSession };

  // Makes the process by `fork_call`, which returns as fork(2) does and is named `call` in
  // messages. The constructor returns only in the parent; the child runs `body`, which must end in
  // exec_command(), and never returns from here.
  Child(const std::string& call, const std::function<pid_t()>& fork_call,
        const std::function<void()>& body, Leads leads = Leads::kGroup);
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }

  // For wait_for(): a descriptor that is readable when has_started() has something new to return.
  [[nodiscard]] int error_pipe() const { return errors_.get(); }
  // Whether the child has become the command; waits at most that many milliseconds, or without a
  // limit if it is -1. Throws what the child threw.
  [[nodiscard]] bool has_started(int milliseconds);
  // The child ends, and `successor` goes on in its place: a process that the child has made, and
  // that is our child, too.
  void goes_on_as(pid_t successor);
  // From now on the child may outlive this object: another process looks after it.
  void let_go() { reaped_ = true; }
  // The child's status as returned by waitpid(2), which gets `options`, if there is a new one.
  [[nodiscard]] std::optional<int> new_status(int options);

 private:
  [[noreturn]] void live_as_child(const std::function<void()>& body, Leads leads) noexcept;

  ErrorPipe errors_;
  sigset_t signals_before_;
  pid_t pid_ = -1;
  bool reaped_ = false;
};

// Starts a child by fork(2).
[[nodiscard]] Child start_child(const std::function<void()>& body);

// In the child: makes the directory of --workdir if it is missing, as docker run does. Does nothing
// without --workdir.
void make_workdir(const ProcessOptions& process);

// What a later layer does when only the execve(2) is left to do, and the descriptors that it needs
// for that.
struct LastStep {
  std::function<void()> run;
  std::vector<int> descriptors;
};

// In the child: replaces this process by the command, with `environment` and what --env adds. Never
// returns; throws Failure with 127 if the command is not found, and 126 if it cannot be executed.
[[noreturn]] void exec_command(const ProcessOptions& process, Environment environment,
                               const LastStep& last_step = {});

// Returns our own environment, which exec(2) would pass on anyway.
[[nodiscard]] Environment host_environment();

}  // namespace box
