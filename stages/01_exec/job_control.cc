#include "stages/01_exec/job_control.h"

#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

namespace box {

namespace {

// Of a command that reads from the terminal in the background, or sets its modes, see termios(3).
bool asks_for_terminal(int stop_signal) { return stop_signal == SIGTTIN || stop_signal == SIGTTOU; }

}  // namespace

bool stop_ourselves(int signal, bool our_group) {
  sigset_t stops;
  sigset_t before;
  sigemptyset(&stops);
  sigaddset(&stops, signal);
  (void)sigprocmask(SIG_UNBLOCK, &stops, &before);
  (void)kill(our_group ? 0 : getpid(), signal);
  (void)sigprocmask(SIG_SETMASK, &before, nullptr);
  sigset_t pending;
  (void)sigpending(&pending);  // wait_for() blocks SIGCONT
  return sigismember(&pending, SIGCONT) == 1;
}

JobControl::JobControl() : needs_terminal_(Terminal::is_for_input_and_output()) {}

void JobControl::start(pid_t child) {
  child_ = child;
  if (!terminal_.is_there()) return;
  start_sentinel();
  if (!needs_terminal_) return;
  // If the command was faster than we are, reading from the terminal has stopped it. What stops it
  // for another reason stays: waitpid(2) in wait_for() will report it.
  siginfo_t stop{};
  (void)waitid(P_PID, static_cast<id_t>(child_), &stop, WSTOPPED | WNOHANG | WNOWAIT);
  const bool stopped = stop.si_pid != 0;
  if (!stopped || asks_for_terminal(stop.si_status)) go_on();
}

JobControl::~JobControl() {
  if (sentinel_ == -1) return;
  (void)kill(sentinel_, SIGKILL);
  (void)waitpid(sentinel_, nullptr, 0);
}

void JobControl::start_sentinel() {
  // Without room for another process there is no job control, but that is not a reason to end.
  sentinel_ = fork();
  if (sentinel_ != 0) {
    if (sentinel_ != -1) (void)setpgid(sentinel_, child_);  // the group is never without a sentinel
    return;
  }
  // In the sentinel, which must neither keep a pipe of the command open nor outlive us.
  (void)close_range(0, ~0U, 0);
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  for (const int signal : {SIGINT, SIGQUIT, SIGHUP, SIGTSTP, SIGTTIN, SIGTTOU}) {
    (void)::signal(signal, SIG_DFL);
  }
  (void)prctl(PR_SET_DUMPABLE, 0);  // SIGQUIT would dump core
  sigset_t none;
  sigemptyset(&none);
  if (setpgid(0, child_) == -1) _exit(0);
  (void)sigprocmask(SIG_SETMASK, &none, nullptr);
  while (true) pause();
}

int JobControl::serve() {
  int status = 0;
  if (sentinel_ == -1 || waitpid(sentinel_, &status, WNOHANG | WUNTRACED) <= 0) return 0;
  if (WIFSTOPPED(status)) {
    child_has_stopped(WSTOPSIG(status));
    return 0;
  }
  sentinel_ = -1;
  if (!WIFSIGNALED(status)) return 0;  // the group is gone
  start_sentinel();
  const int signal = WTERMSIG(status);
  return signal == SIGINT || signal == SIGQUIT || signal == SIGHUP ? signal : 0;
}

void JobControl::child_has_stopped(int signal) {
  if (!terminal_.is_there() || child_is_stopped_) return;
  const bool asks = asks_for_terminal(signal);
  needs_terminal_ = needs_terminal_ || asks;
  if (asks && (terminal_.is_ours() || terminal_.is_lent_to(child_))) {
    go_on();  // the command may have asked for the terminal just before it was lent
  } else {
    stop_with_child(asks ? signal : SIGTSTP, true);
  }
}

void JobControl::stop() { stop_with_child(SIGTSTP, false); }

void JobControl::stop_with_child(int signal, bool our_group) {
  // Stops the group, as the terminal would, and PID 1 of a namespace, which only a SIGSTOP from
  // outside can stop.
  (void)kill(-child_, SIGTSTP);
  (void)kill(child_, SIGSTOP);
  child_is_stopped_ = true;
  terminal_.take_back();
  const bool stopped = stop_ourselves(signal, our_group);
  if (!stopped && signal != SIGTSTP) {
    // The group stays in the background for good: no shell will ever bring it to the foreground.
    (void)kill(child_, SIGKILL);
    return;
  }
  go_on();
}

void JobControl::go_on() {
  if (needs_terminal_) terminal_.lend_to(child_);
  (void)kill(-child_, SIGCONT);
  (void)kill(child_, SIGCONT);
  child_is_stopped_ = false;
}

}  // namespace box
