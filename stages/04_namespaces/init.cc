#include "stages/04_namespaces/init.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/check.h"
#include "common/unique_fd.h"
#include "stages/01_exec/process.h"

namespace box {
namespace {

[[noreturn]] void run_init(pid_t command, const sigset_t& signals, UniqueFd go_on) {
  // /proc/1/exe is this program, a file of the host. Not dumpable, we keep it from whoever is root
  // in the container, see prctl(2) and proc(5).
  check(prctl(PR_SET_DUMPABLE, 0), "prctl(PR_SET_DUMPABLE, 0)");
  // The parent takes end-of-file on the error pipe for the command's exec: we must have let go of
  // it before. So the command waits until we close `go_on`, last of all.
  const auto last = static_cast<unsigned>(go_on.get());
  if (last > STDERR_FILENO + 1) (void)close_range(STDERR_FILENO + 1, last - 1, 0);
  (void)close_range(last + 1, ~0U, 0);
  go_on.close();
  const UniqueFd fd(check_quietly(signalfd(-1, &signals, SFD_CLOEXEC), "signalfd()"));
  while (true) {
    signalfd_siginfo info = {};
    if (read(fd.get(), &info, sizeof info) != sizeof info) continue;  // EINTR, after a stop
    if (info.ssi_signo != SIGCHLD) {
      forward_signal(command, static_cast<int>(info.ssi_signo), info.ssi_code);
      continue;
    }
    // Several children may have ended, but signals of one kind do not queue: reap all.
    int status = 0;
    pid_t ended = 0;
    while ((ended = waitpid(-1, &status, WNOHANG)) > 0) {
      if (ended == command) _exit(exit_status_of(status));
    }
  }
}

}  // namespace

void become_init() {
  const sigset_t signals = forwarded_signals_and_sigchld();
  sigset_t before;
  check_quietly(sigprocmask(SIG_BLOCK, &signals, &before), "sigprocmask()");
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  UniqueFd wait_end(ends[0]);
  UniqueFd go_on(ends[1]);
  const pid_t command = check(fork(), "fork()");
  if (command != 0) run_init(command, signals, std::move(go_on));
  trace_as("PID 2");
  go_on.close();
  char nothing = 0;
  (void)TEMP_FAILURE_RETRY(read(wait_end.get(), &nothing, 1));  // end-of-file, whatever happens
  check_quietly(sigprocmask(SIG_SETMASK, &before, nullptr), "sigprocmask()");
}

}  // namespace box
