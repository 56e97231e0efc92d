// Lends the terminal in which we were started, if any, to the command, and takes it back.
#pragma once

#include <signal.h>
#include <sys/types.h>
#include <termios.h>

#include "common/unique_fd.h"

namespace box {

// A process in the background that changes the terminal is stopped by SIGTTOU, unless it blocks it.
class BlockTtou {
 public:
  BlockTtou();
  ~BlockTtou();
  BlockTtou(const BlockTtou&) = delete;
  BlockTtou& operator=(const BlockTtou&) = delete;

 private:
  sigset_t before_;
};

// In the parent. The command has a process group of its own, but our terminal has one foreground
// group, which may read from it and to which it sends Ctrl-C, see "Process groups" in
// credentials(7). None of these functions fails: without a terminal there is nothing to lend.
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
  // Whether both our input and our output are a terminal: then the command is likely to read from
  // it. In `stage command | less` they are not, and less needs the terminal.
  [[nodiscard]] static bool is_for_input_and_output();

  // If we have the terminal: puts `group` into the foreground, with the terminal modes that it had
  // there before.
  void lend_to(pid_t group);
  // If the terminal was lent: puts our group into the foreground again, with the modes that we
  // found at the start. A shell inside may have changed them, and may have put yet another group
  // there.
  void take_back();

 private:
  UniqueFd fd_;
  bool lent_ = false;
  bool has_modes_of_group_ = false;
  termios our_modes_{};
  termios modes_of_group_{};
};

}  // namespace box
