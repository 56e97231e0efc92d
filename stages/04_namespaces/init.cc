#include "stages/04_namespaces/init.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/check.h"
#include "common/descriptors.h"
#include "common/run_main.h"
#include "common/unique_fd.h"
#include "stages/01_exec/signals.h"

namespace box {
namespace {

[[noreturn]] void run_init(pid_t command, const UniqueFd& fd) {
  // To the parent, end-of-file on the error pipe means the command's exec, so PID 1 must not keep
  // the pipe open, nor any file of the host.
  close_all_but({fd.get()});
  while (true) {
    signalfd_siginfo info = {};
    if (read(fd.get(), &info, sizeof info) != sizeof info) continue;  // EINTR, after a stop
    if (info.ssi_signo != SIGCHLD) {
      forward_signal(command, static_cast<int>(info.ssi_signo), info.ssi_code);
      continue;
    }
    // Several children may have ended, but signals of one kind do not queue, so reap them all.
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
  // /proc/1/exe is this program, a file of the host. If PID 1 is not dumpable, root in the
  // container cannot open it, see prctl(2) and proc(5).
  check(prctl(PR_SET_DUMPABLE, 0), "prctl(PR_SET_DUMPABLE, 0)");
  const UniqueFd fd(check_quietly(signalfd(-1, &signals, SFD_CLOEXEC), "signalfd()"));
  show_as("init");  // before the command could look
  const pid_t command = check(fork(), "fork()");
  if (command != 0) run_init(command, fd);

  // Only PID 2 gets here.
  trace_as("PID 2");
  check_quietly(sigprocmask(SIG_SETMASK, &before, nullptr), "sigprocmask()");
}

}  // namespace box
