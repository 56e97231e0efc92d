#include "stages/01_exec/process.h"

#include <fcntl.h>
#include <sys/personality.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>

#include "common/check.h"
#include "common/descriptors.h"
#include "common/open_in_root.h"
#include "common/run_main.h"
#include "common/unique_fd.h"
#include "stages/01_exec/not_found.h"
#include "stages/01_exec/signals.h"

namespace box {
namespace {

std::string current_directory() {
  char path[PATH_MAX];
  check_quietly(syscall(SYS_getcwd, path, sizeof path), "getcwd()");
  return path;
}

// The absolute path of --workdir: a relative path begins at our working directory.
std::string absolute(const std::string& path) {
  return path.front() == '/' ? path : current_directory() + "/" + path;
}

UniqueFd open_root() {
  return UniqueFd(check_quietly(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), "open(/, O_PATH)"));
}

void enter_workdir(const std::string& workdir) {
  if (!workdir.empty()) {
    const UniqueFd directory(
        open_in_root(open_root().get(), absolute(workdir), O_PATH | O_DIRECTORY));
    check_quietly(directory.get(), "chdir({})", workdir);
    check(fchdir(directory.get()), "chdir({})", workdir);
  }
  // The kernel marks a directory that cannot be reached from the root, see getcwd(2): it would be a
  // directory of the host.
  if (const std::string path = current_directory(); path.front() != '/') {
    throw Failure("the working directory is outside the root: " + path);
  }
}

}  // namespace

ProcessOptions::ProcessOptions(CommandLine& line) {
  add_environment_options(line, environment);
  line.add_option("-w,--workdir", "DIR",
                  "set the command's working directory; it is made if missing", workdir);
  line.add_command(command);
}

Child::Child(const std::string& call, const std::function<pid_t()>& fork_call,
             const std::function<void()>& body, Leads leads) {
  // Blocked before the fork, so that no signal is lost between it and wait_for(). If our caller
  // ignores SIGCHLD, the kernel would reap the child, and its status would be lost, see wait(2).
  const sigset_t watched = watched_signals();
  check_quietly(sigprocmask(SIG_BLOCK, &watched, &signals_before_), "sigprocmask()");
  (void)signal(SIGCHLD, SIG_DFL);

  pid_ = fork_call();
  if (pid_ == 0) live_as_child(body, leads);

  // Only the parent gets here.
  check(pid_, "{}", call);
  // Parent and child both do it, as in shells, because neither may go on before it is done. It
  // fails here if the child did it first and has already become the command. Only the child itself
  // can make a session, and only if it leads no group yet, see setsid(2).
  if (leads == Leads::kGroup) (void)setpgid(pid_, pid_);
  errors_.close_child_end();
}

void Child::live_as_child(const std::function<void()>& body, Leads leads) noexcept {
  errors_.run_child([&] {
    trace_as("child");
    // A process group of its own, which a session has, too: otherwise kill(0, SIGKILL) in the
    // container would reach the processes of our caller's group, whatever PID namespace they are
    // in, see kill(2).
    if (leads == Leads::kSession) {
      check_quietly(setsid(), "setsid()");
    } else {
      check_quietly(setpgid(0, 0), "setpgid()");
    }
    check_quietly(sigprocmask(SIG_SETMASK, &signals_before_, nullptr), "sigprocmask()");
    body();
  });
}

Child::~Child() {
  if (pid_ > 0 && !reaped_) {
    errors_.keep_report();  // the child's failure may be the cause of the parent's
    (void)kill(pid_, SIGKILL);
    (void)waitpid(pid_, nullptr, 0);
  }
  (void)sigprocmask(SIG_SETMASK, &signals_before_, nullptr);
}

bool Child::has_started(int milliseconds) {
  switch (errors_.state_of_child(milliseconds)) {
    case ErrorPipe::State::kBuilding:
      return false;
    case ErrorPipe::State::kStarted:
      return true;
    case ErrorPipe::State::kGone:
      break;
  }
  const auto status = new_status(0);
  throw Failure(status && WIFSIGNALED(*status)
                    ? fmt::format("the container was killed by SIG{} before it was built",
                                  sigabbrev_np(WTERMSIG(*status)))
                    : "the container ended before it was built");
}

void Child::goes_on_as(pid_t successor) {
  check_quietly(TEMP_FAILURE_RETRY(waitpid(pid_, nullptr, 0)), "waitpid()");
  pid_ = successor;
}

std::optional<int> Child::new_status(int options) {
  int status = 0;
  if (check_quietly(TEMP_FAILURE_RETRY(waitpid(pid_, &status, options)), "waitpid()") == 0) {
    return std::nullopt;
  }
  reaped_ = !WIFSTOPPED(status);
  return status;
}

Child start_child(const std::function<void()>& body) { return {"fork()", fork, body}; }

void make_workdir(const ProcessOptions& process) {
  if (process.workdir.empty()) return;
  (void)make_directories_in_root(open_root().get(), absolute(process.workdir));
}

void exec_command(const ProcessOptions& process, Environment environment,
                  const LastStep& last_step) {
  for (const auto& [key, value] : process.environment) environment[key] = value;
  std::vector<std::string> variables;
  for (const auto& [key, value] : environment) variables.push_back(key + "=" + value);

  std::vector<char*> envp;
  std::vector<char*> argv;
  for (const auto& word : variables) envp.push_back(const_cast<char*>(word.c_str()));
  for (const auto& word : process.command) argv.push_back(const_cast<char*>(word.c_str()));
  envp.push_back(nullptr);
  argv.push_back(nullptr);

  // Descriptors that our caller forgot to close, and our own, would give the container files of the
  // host. They are closed now, before the exec, because each has a name in /proc/self/fd, and the
  // path of the command could lead there. Only the error pipe stays open, to report a failed exec;
  // a successful exec closes it.
  std::vector<int> still_needed = last_step.descriptors;
  still_needed.push_back(ErrorPipe::end_of_child());
  close_all_but(still_needed);
  enter_workdir(process.workdir);

  restore_signals();
  check_quietly(personality(PER_LINUX), "personality(PER_LINUX)");  // undoes what setarch(8) set
  ErrorPipe::announce_exec();
  if (last_step.run) last_step.run();
  if (tracing()) trace("execve(" + process.command[0] + ")");
  environ = envp.data();  // execvp(3) searches its PATH, and passes it on
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

}  // namespace box
