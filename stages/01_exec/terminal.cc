#include "stages/01_exec/terminal.h"

#include <fcntl.h>
#include <unistd.h>

namespace box {
BlockTtou::BlockTtou() {
  sigset_t ttou;
  sigemptyset(&ttou);
  sigaddset(&ttou, SIGTTOU);
  (void)sigprocmask(SIG_BLOCK, &ttou, &before_);  // fails only for a wrong first argument
}

BlockTtou::~BlockTtou() { (void)sigprocmask(SIG_SETMASK, &before_, nullptr); }

Terminal::Terminal() : fd_(open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY)) {}

Terminal::~Terminal() { take_back(); }

bool Terminal::is_ours() const { return is_there() && tcgetpgrp(fd_.get()) == getpgrp(); }

bool Terminal::is_lent_to(pid_t group) const { return lent_ && tcgetpgrp(fd_.get()) == group; }

bool Terminal::is_for_input_and_output() {
  return isatty(STDIN_FILENO) == 1 && isatty(STDOUT_FILENO) == 1;
}

void Terminal::lend_to(pid_t group) {
  if (!is_ours() || tcgetattr(fd_.get(), &our_modes_) == -1) return;
  const BlockTtou block;
  // Either fails only if the terminal or the group is gone, and then there is nothing to do.
  if (has_modes_of_group_) (void)tcsetattr(fd_.get(), TCSADRAIN, &modes_of_group_);
  lent_ = tcsetpgrp(fd_.get(), group) == 0;
}

void Terminal::take_back() {
  if (!lent_) return;
  lent_ = false;
  has_modes_of_group_ = tcgetattr(fd_.get(), &modes_of_group_) == 0;
  const BlockTtou block;
  (void)tcsetpgrp(fd_.get(), getpgrp());
  (void)tcsetattr(fd_.get(), TCSADRAIN, &our_modes_);
}

}  // namespace box
