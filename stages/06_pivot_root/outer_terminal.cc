#include "stages/06_pivot_root/outer_terminal.h"

#include <fcntl.h>
#include <unistd.h>

#include <initializer_list>
#include <string>

#include "stages/01_exec/terminal.h"

namespace box {
namespace {

// Returns the first of `fds` that is a terminal, or -1.
int first_terminal(std::initializer_list<int> fds) {
  for (const int fd : fds) {
    if (isatty(fd) == 1) return fd;
  }
  return -1;
}

// The terminal that `fd` has open, as another open file: O_NONBLOCK belongs to the open file, which
// `fd` shares with our caller's shell, see fcntl(2).
UniqueFd open_again(int fd) {
  if (fd == -1) return UniqueFd();
  constexpr int kFlags = O_RDWR | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
  UniqueFd again(open(("/proc/self/fd/" + std::to_string(fd)).c_str(), kFlags));
  if (again.get() != -1) return again;
  // After su(1) it belongs to another user, but every user may open /dev/tty, see tty(4).
  unsigned device = 0;
  unsigned device_of_tty = 0;
  again = UniqueFd(open("/dev/tty", kFlags));
  if (again.get() != -1 && ioctl(fd, TIOCGDEV, &device) == 0 &&
      ioctl(again.get(), TIOCGDEV, &device_of_tty) == 0 && device == device_of_tty) {
    return again;
  }
  // The same open file, without O_NONBLOCK; but we always call poll(2) first.
  return UniqueFd(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

}  // namespace

bool are_same(const termios& a, const termios& b) {
  return a.c_iflag == b.c_iflag && a.c_oflag == b.c_oflag && a.c_lflag == b.c_lflag;
}

OuterTerminal::OuterTerminal()
    : input_(open_again(first_terminal({STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}))),
      output_(open_again(first_terminal({STDOUT_FILENO, STDERR_FILENO, STDIN_FILENO}))),
      for_both_(Terminal::is_for_input_and_output()) {
  if (is_there()) (void)tcgetattr(input_.get(), &modes_);
}

bool OuterTerminal::is_in_foreground() const {
  const pid_t group = tcgetpgrp(input_.get());
  // -1: it is not our session's terminal, and has no foreground group for us.
  return group == getpgrp() || group == -1;
}

termios OuterTerminal::modes_for_command() const {
  termios modes = modes_;
  if (is_in_foreground()) return modes;
  modes.c_iflag |= ICRNL | IXON;
  modes.c_oflag |= OPOST | ONLCR;
  modes.c_lflag |= ICANON | ECHO | ECHOE | ECHOK | ISIG | IEXTEN;
  return modes;
}

winsize OuterTerminal::size() const {
  winsize size = {};
  (void)ioctl(input_.get(), TIOCGWINSZ, &size);  // it is gone: no size
  return size;
}

termios OuterTerminal::modes_for_keys() const {
  termios modes = modes_;
  cfmakeraw(&modes);
  // Another program of our pipeline may write to it, and expects that "\n" begins a line.
  if (!for_both_) modes.c_oflag = modes_.c_oflag;
  return modes;
}

bool OuterTerminal::take_keys() {
  if (taken_ || !is_in_foreground()) return false;
  if (tcgetattr(input_.get(), &modes_) == -1) return false;  // it is gone
  const BlockTtou block;
  const termios modes = modes_for_keys();
  taken_ = tcsetattr(input_.get(), TCSANOW, &modes) == 0;
  return taken_;
}

void OuterTerminal::give_back() {
  if (!taken_) return;
  taken_ = false;
  const BlockTtou block;
  (void)tcsetattr(input_.get(), TCSANOW, &modes_);
}

bool OuterTerminal::ends_lines() const {
  const auto flags = taken_ ? modes_for_keys().c_oflag : modes_.c_oflag;
  return (flags & OPOST) != 0 && (flags & ONLCR) != 0;
}

void OuterTerminal::close() {
  input_.close();
  output_.close();
}

void OuterTerminal::give_back_after_us() {
  termios now = {};
  if (tcgetattr(input_.get(), &now) == -1 || !are_same(now, modes_for_keys())) return;
  (void)tcsetattr(input_.get(), TCSANOW, &modes_);
}

}  // namespace box
