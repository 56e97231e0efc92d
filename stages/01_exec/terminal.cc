#include "stages/01_exec/terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

namespace box {
namespace {

// A process in the background that touches the terminal is stopped by SIGTTOU, unless it blocks it.
class BlockTtou {
 public:
  BlockTtou() {
    sigset_t ttou;
    sigemptyset(&ttou);
    sigaddset(&ttou, SIGTTOU);
    (void)sigprocmask(SIG_BLOCK, &ttou, &before_);  // fails only for a wrong first argument
  }
  ~BlockTtou() { (void)sigprocmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace

// Without a terminal, or in its background, there is nothing to lend: no error.
Terminal::Terminal() : fd_(open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {
  if (fd_ != -1 && (tcgetpgrp(fd_) != getpgrp() || tcgetattr(fd_, &modes_) == -1)) {
    (void)close(fd_);
    fd_ = -1;
  }
}

Terminal::~Terminal() {
  take_back();
  if (fd_ != -1) (void)close(fd_);
}

void Terminal::take_back() const {
  if (fd_ == -1) return;
  const BlockTtou block;
  // Either fails only if the terminal is gone, and then there is nothing to repair.
  (void)tcsetpgrp(fd_, getpgrp());
  (void)tcsetattr(fd_, TCSADRAIN, &modes_);
}

void Terminal::stop_with(pid_t process) const {
  if (fd_ == -1) return;
  const pid_t foreground = tcgetpgrp(fd_);
  termios modes{};
  (void)tcgetattr(fd_, &modes);
  take_back();
  (void)raise(SIGSTOP);  // returns when our shell says `fg`

  const BlockTtou block;
  (void)tcsetattr(fd_, TCSADRAIN, &modes);
  (void)tcsetpgrp(fd_, foreground);
  (void)kill(process, SIGCONT);
}

}  // namespace box
