// Stage 06: our caller's terminal, while the container has one of its own.
#pragma once

#include <sys/ioctl.h>
#include <termios.h>

#include "common/unique_fd.h"

namespace box {

// Whether the two terminals process input and output in the same way.
[[nodiscard]] bool are_same(const termios& a, const termios& b);

// In the parent. To read each key at once and unchanged, we switch off in our terminal what the
// container's does itself: lines, echo, signals. We restore it when we stop, end, or fail.
class OuterTerminal {
 public:
  OuterTerminal();
  ~OuterTerminal() { give_back(); }
  OuterTerminal(const OuterTerminal&) = delete;
  OuterTerminal& operator=(const OuterTerminal&) = delete;

  // Whether our input, output or error output is a terminal.
  [[nodiscard]] bool is_there() const { return input_.get() != -1; }
  // Whether our input and our output both are: then the command is likely to read from it. In
  // `stage command | less` they are not, and less needs the terminal.
  [[nodiscard]] bool is_for_both() const { return for_both_; }
  // Whether our process group is in its foreground, so that we may read from it.
  [[nodiscard]] bool is_in_foreground() const;

  // Not our caller's open files, because O_NONBLOCK would affect our caller, too.
  [[nodiscard]] int input() const { return input_.get(); }
  [[nodiscard]] int output() const { return output_.get(); }

  [[nodiscard]] const termios& modes() const { return modes_; }
  // The modes with which a command begins: ours, unless we are in the background, where we find the
  // modes in which our shell reads its next line.
  [[nodiscard]] termios modes_for_command() const;
  [[nodiscard]] winsize size() const;

  // If we are in the foreground: from now on we get each key. Returns whether that is new.
  bool take_keys();
  // Restores it.
  void give_back();
  [[nodiscard]] bool keys_are_taken() const { return taken_; }
  // Whether it shows "\n" as "\r\n", which the container's terminal has done already.
  [[nodiscard]] bool ends_lines() const;

  // In the child: closes it.
  void close();
  // In a process that has outlived us: restores it, unless that has been done already.
  void give_back_after_us();

 private:
  [[nodiscard]] termios modes_for_keys() const;

  UniqueFd input_;
  UniqueFd output_;
  bool for_both_ = false;
  bool taken_ = false;
  termios modes_{};  // the modes that we have found
};

}  // namespace box
