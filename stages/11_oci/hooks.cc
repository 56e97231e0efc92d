#include "stages/11_oci/hooks.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "common/unique_fd.h"
#include "common/write_file.h"
#include "stages/01_exec/signals.h"

namespace box {
namespace {

// A file in memory, so that no hook can make us wait by not reading.
UniqueFd input_with(const std::string& state) {
  UniqueFd file(check_quietly(memfd_create("state", MFD_CLOEXEC), "memfd_create()"));
  write_all(file.get(), state, "the state");
  check_quietly(lseek(file.get(), 0, SEEK_SET), "lseek()");
  return file;
}

std::vector<char*> pointers_to(const std::vector<std::string>& words) {
  std::vector<char*> pointers;
  for (const auto& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

[[noreturn]] void become_hook(const Hook& hook, const UniqueFd& input) {
  forget_callers_signals();
  const std::vector<std::string> args =
      hook.args.empty() ? std::vector<std::string>{hook.path} : hook.args;
  if (dup2(input.get(), STDIN_FILENO) != -1) {
    (void)execve(hook.path.c_str(), pointers_to(args).data(), pointers_to(hook.environment).data());
  }
  _exit(errno == ENOENT ? kExitNotFound : kExitCannotExecute);
}

// Returns the status of wait(2).
int run(const Hook& hook, const std::string& kind, const std::string& state) {
  const UniqueFd input = input_with(state);
  const pid_t process = check(fork(), "fork() for {}", hook.path);
  if (process == 0) become_hook(hook, input);
  const UniqueFd ended(static_cast<int>(syscall(SYS_pidfd_open, process, 0)));
  constexpr int kMilliseconds = 1000;
  pollfd event = {ended.get(), POLLIN, 0};
  const int waited =
      TEMP_FAILURE_RETRY(poll(&event, 1, hook.timeout ? *hook.timeout * kMilliseconds : -1));
  if (waited <= 0) (void)kill(process, SIGKILL);
  int status = 0;
  check_quietly(TEMP_FAILURE_RETRY(waitpid(process, &status, 0)), "waitpid()");
  if (waited == 0) {
    throw Failure(fmt::format("{} hook {}: it did not end in {} s", kind, hook.path,
                              hook.timeout.value_or(0)));
  }
  return status;
}

}  // namespace

void run_hooks(const std::string& kind, const std::vector<Hook>& hooks, const std::string& state) {
  for (const Hook& hook : hooks) {
    const int status = run(hook, kind, state);
    if (status == 0) continue;
    throw Failure(
        fmt::format("{} hook {}: exit status {}", kind, hook.path, exit_status_of(status)));
  }
}

}  // namespace box
