// The terminal in which we were started, if any, is lent to the container and taken back.
#pragma once

#include <sys/types.h>
#include <termios.h>

namespace box {

// The container's processes share our terminal and, at first, our process group: Ctrl-C reaches
// them and us. A shell with job control makes a group of its own and puts it in the foreground,
// see tcsetpgrp(3); when it is killed, nobody puts us back and its modes stay. We do.
class Terminal {
 public:
  Terminal();
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  // In the foreground again, with the modes that the terminal had at first.
  void take_back() const;
  // `process` has stopped itself, as bash does at `suspend`: lets our caller's shell go on, and
  // when that continues us, continues `process` where it was.
  void stop_with(pid_t process) const;

 private:
  int fd_ = -1;  // our controlling terminal, if we were in its foreground
  termios modes_{};
};

}  // namespace box
