#include "stages/01_exec/process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "common/check.h"
#include "common/unique_fd.h"
#include "stages/01_exec/not_found.h"

namespace box {
namespace {

// What whoever stops a container sends to it; docker run and bash forward them too.
constexpr int kForwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2};

}  // namespace

ProcessOptions::ProcessOptions(CommandLine& line) {
  line.add_option("-e,--env", "KEY=VALUE", "set an environment variable; KEY alone: as it is here",
                  [this](const std::string& word) {
                    const auto equals = word.find('=');
                    const std::string key = word.substr(0, equals);
                    if (key.empty()) throw Failure("is not KEY=VALUE");
                    if (equals != std::string::npos) {
                      environment[key] = word.substr(equals + 1);
                    } else if (const char* value = std::getenv(key.c_str())) {
                      environment[key] = value;
                    }
                  });
  line.add_option("-w,--workdir", "DIR", "the command's working directory", workdir);
  line.add_command(command);
}

Child::Child(const std::string& call, const std::function<pid_t()>& fork_call,
             const std::function<void()>& body) {
  // Blocked before the fork, so that no signal is lost between it and wait_for(). Our caller may
  // ignore SIGCHLD: then the kernel would reap the child, and its status would be gone, see
  // wait(2).
  const sigset_t watched = forwarded_signals_and_sigchld();
  check_quietly(sigprocmask(SIG_BLOCK, &watched, &signals_before_), "sigprocmask()");
  (void)signal(SIGCHLD, SIG_DFL);

  pid_ = fork_call();
  if (pid_ == 0) {
    errors_.run_child([&] {
      trace_as("child");
      check_quietly(sigprocmask(SIG_SETMASK, &signals_before_, nullptr), "sigprocmask()");
      body();
    });
  }
  check(pid_, "{}", call);
  errors_.close_child_end();
}

Child::~Child() {
  if (pid_ > 0 && !reaped_) {
    (void)kill(pid_, SIGKILL);
    (void)waitpid(pid_, nullptr, 0);
  }
  (void)sigprocmask(SIG_SETMASK, &signals_before_, nullptr);
}

Child start_child(const std::function<void()>& body) { return {"fork()", fork, body}; }

void exec_command(const ProcessOptions& process, Environment environment,
                  const std::function<void()>& at_last) {
  for (const auto& [key, value] : process.environment) environment[key] = value;
  std::vector<std::string> variables;
  for (const auto& [key, value] : environment) variables.push_back(key + "=" + value);

  std::vector<char*> envp;
  std::vector<char*> argv;
  for (const auto& word : variables) envp.push_back(const_cast<char*>(word.c_str()));
  for (const auto& word : process.command) argv.push_back(const_cast<char*>(word.c_str()));
  envp.push_back(nullptr);
  argv.push_back(nullptr);

  if (!process.workdir.empty()) {
    check(chdir(process.workdir.c_str()), "chdir({})", process.workdir);
  }
  // Descriptors that our caller forgot to close would give the container files of the host. They
  // are closed at the exec, not now: the error pipe must still tell if that fails.
  check(close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC), "close_range(3, ~0, CLOEXEC)");
  if (at_last) at_last();
  if (tracing()) trace("execve(" + process.command[0] + ")");
  environ = envp.data();  // execvp(3) searches the PATH of this environment, and passes it on
  execvp(argv[0], argv.data());
  throw exec_failure(process.command[0], errno);
}

Environment host_environment() {
  Environment environment;
  for (char** variable = environ; *variable != nullptr; ++variable) {
    const std::string text = *variable;
    const auto equals = text.find('=');
    if (equals != std::string::npos) environment[text.substr(0, equals)] = text.substr(equals + 1);
  }
  return environment;
}

int exit_status_of(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

sigset_t forwarded_signals_and_sigchld() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : kForwarded) sigaddset(&set, signal);
  sigaddset(&set, SIGCHLD);
  return set;
}

void forward_signal(pid_t child, int signal, int code) {
  // Ctrl-C goes from the terminal to its whole foreground process group. A second copy could kill a
  // child that takes the first for a question.
  const bool has_it_already = code == SI_KERNEL && getpgid(child) == getpgrp();
  // That the child has ended meanwhile is no error.
  if (!has_it_already) (void)kill(child, signal);
}

int wait_for(Child& child, const std::function<void(int)>& after_signal) {
  const sigset_t watched = forwarded_signals_and_sigchld();
  const UniqueFd signals(
      check_quietly(signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd()"));
  bool started = false;  // the error pipe has told that the command runs
  while (true) {
    pollfd events[] = {{signals.get(), POLLIN, 0}, {started ? -1 : child.errors_.get(), POLLIN, 0}};
    if (poll(events, 2, -1) == -1 && errno != EINTR) check_quietly(-1, "poll()");

    started = started || child.errors_.child_has_started(0);
    signalfd_siginfo info;
    while (read(signals.get(), &info, sizeof info) == sizeof info) {
      if (info.ssi_signo == SIGCHLD) continue;
      const auto signal = static_cast<int>(info.ssi_signo);
      // While it builds the container the child cannot handle a signal. That takes milliseconds; if
      // it takes longer, our end is its end.
      started = started || child.errors_.child_has_started(1000);
      if (!started) throw Failure(0, "interrupted", 128 + signal);
      forward_signal(child.pid_, signal, info.ssi_code);
      if (after_signal) after_signal(signal);
    }
    int status = 0;
    if (started &&
        check_quietly(waitpid(child.pid_, &status, WNOHANG | WUNTRACED), "waitpid()") > 0) {
      if (!WIFSTOPPED(status)) {
        child.reaped_ = true;
        return exit_status_of(status);
      }
      // In our group the terminal has stopped us too; with a group of its own it has not.
      if (getpgid(child.pid_) != getpgrp()) child.terminal_.stop_with(child.pid_);
    }
  }
}

}  // namespace box
