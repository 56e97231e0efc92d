// The terminal in which we were started, if any, is lent to the command and taken back.
#pragma once

#include <sys/types.h>
#include <termios.h>

#include "common/unique_fd.h"

namespace box {

// In the parent. The command has a process group of its own, but our terminal has one foreground
// group, which may read from it and to which it sends Ctrl-C, see "Process groups" in
// credentials(7). Of all this nothing is an error: without a terminal there is nothing to lend.
class Terminal {
 public:
  Terminal();
  ~Terminal();  // takes it back
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // Whether we have a controlling terminal at all.
  [[nodiscard]] bool is_there() const { return fd_.get() != -1; }
  // Whether our process group is in its foreground.
  [[nodiscard]] bool is_ours() const;
  // Whether `group` is in its foreground, because we have put it there.
  [[nodiscard]] bool is_lent_to(pid_t group) const;
  // Whether our input and our output are a terminal: then the command is likely to read from it.
  // Not so in `stage command | less`, where less needs it.
  [[nodiscard]] static bool is_for_input_and_output();

  // If it is ours: puts `group` into the foreground, with the modes that it had there before.
  void lend_to(pid_t group);
  // If it was lent: our group in the foreground again, with the modes that we have found. A shell
  // inside may have changed them, and have put yet another group there.
  void take_back();

 private:
  UniqueFd fd_;
  bool lent_ = false;
  bool has_modes_of_group_ = false;
  termios our_modes_{};
  termios modes_of_group_{};
};

}  // namespace box
