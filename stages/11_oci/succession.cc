#include "stages/11_oci/succession.h"

#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include <cstring>
#include <string>
#include <tuple>

#include "common/check.h"
#include "common/descriptors.h"
#include "common/error_pipe.h"

namespace box {
namespace {

// Returns the descriptor of our session's terminal, -1 if it has none.
int own_terminal() {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (isatty(fd) == 1 && tcgetsid(fd) == getsid(0)) return fd;
  }
  return -1;
}

}  // namespace

Succession::Succession() { std::tie(parent_end_, child_end_) = FdChannel::make(); }

void Succession::hand_over(std::vector<int> needed) {
  parent_end_.close();
  needed.insert(needed.end(), {child_end_.get(), ErrorPipe::end_of_child()});
  close_all_but(needed);
  forget_environment();
  // Without CAP_SYS_PTRACE in the host's user namespace no process may look into the successor, not
  // even one with the same ids, see PR_SET_DUMPABLE in prctl(2).
  check(prctl(PR_SET_DUMPABLE, 0), "prctl(PR_SET_DUMPABLE, 0)");
  // A session's terminal cannot be passed on, but another session can take it, once it has none.
  const int terminal = own_terminal();
  sigset_t hang_up;
  sigset_t before;
  sigemptyset(&hang_up);
  sigaddset(&hang_up, SIGHUP);
  check_quietly(sigprocmask(SIG_BLOCK, &hang_up, &before), "sigprocmask()");
  if (terminal != -1) check(ioctl(terminal, TIOCNOTTY), "ioctl(the terminal, TIOCNOTTY)");

  const auto successor = static_cast<pid_t>(
      check(syscall(SYS_clone, CLONE_PARENT, nullptr, nullptr, nullptr, nullptr), "clone(PARENT)"));
  if (successor != 0) {
    child_end_.send(std::to_string(successor));
    _exit(0);
  }
  check_quietly(sigprocmask(SIG_SETMASK, &before, nullptr), "sigprocmask()");
  FdChannel::Message is_known;
  if (!child_end_.receive(is_known)) throw Failure("the parent has given up");
  child_end_.close();
  check_quietly(setsid(), "setsid()");
  if (terminal != -1) check(ioctl(terminal, TIOCSCTTY, 0), "ioctl(the terminal, TIOCSCTTY)");
}

void Succession::follow(Child& child, const std::function<void()>& note) {
  child_end_.close();  // otherwise we would keep our own channel from reaching end-of-file
  FdChannel::Message successor;
  if (!parent_end_.receive(successor)) return;
  child.goes_on_as(std::stoi(successor.name));
  note();
  parent_end_.send("go on");
  parent_end_.close();
}

void forget_environment() {
  for (char** variable = environ; *variable != nullptr; ++variable) {
    explicit_bzero(*variable, std::strlen(*variable));
  }
}

}  // namespace box
