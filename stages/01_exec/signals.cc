#include "stages/01_exec/signals.h"

#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

namespace box {

sigset_t forwarded_signals_and_sigchld() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGCHLD}) {
    sigaddset(&set, signal);
  }
  return set;
}

sigset_t watched_signals() {
  sigset_t set = forwarded_signals_and_sigchld();
  for (const int signal : {SIGTSTP, SIGCONT, SIGWINCH}) sigaddset(&set, signal);
  return set;
}

void forward_signal(pid_t child, int signal, int code) {
  // It is not an error if the child has ended in the meantime.
  if (code != SI_KERNEL) {
    (void)kill(child, signal);
    return;
  }
  const pid_t group = getpgid(child);
  if (group > 0 && group != getpgrp()) {
    (void)kill(-group, signal);
  } else if (signal == SIGHUP && getsid(0) == getpid()) {
    (void)kill(child, signal);  // the kernel sends a hang-up to the leader of the session only
  }
  // Otherwise the child has it. A second copy of Ctrl-C could kill a program that asks for
  // confirmation at the first.
}

void forget_callers_signals() {
  // Zeros are SIG_DFL and no flags. glibc's function leaves out the two signals that it uses
  // itself.
  constexpr char kDefault[64] = {};
  for (int number = 1; number < NSIG; ++number) {
    (void)syscall(SYS_rt_sigaction, number, kDefault, nullptr, (NSIG - 1) / 8);  // not SIGKILL
  }
  sigset_t none;
  sigemptyset(&none);
  (void)sigprocmask(SIG_SETMASK, &none, nullptr);
}

int exit_status_of(int wait_status) {
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status);
}

}  // namespace box
