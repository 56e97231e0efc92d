// Tells the parent why its child never reached execve(2).
//
// Both ends are close-on-exec: a successful execve() closes the child's end, so the parent reads
// end-of-file for "the command is running" and a report for "setting up failed". The idea is
// old; crun and Python's subprocess do it too.
#pragma once

#include <functional>

#include "common/unique_fd.h"

namespace box {

class ErrorPipe {
 public:
  ErrorPipe();

  // In the child: runs `body`, reports the exception that it throws, and leaves with _exit(2).
  [[noreturn]] void run_child(const std::function<void()>& body) noexcept;

  // In the parent, after fork(): from now on only the child can write.
  void close_child_end() { write_end_.close(); }
  // In the parent: readable when there is something to learn from child_has_started().
  [[nodiscard]] int get() const { return read_end_.get(); }
  // In the parent: whether the child has reached its execve(), or has ended without a word; waits
  // at most so many milliseconds, or for ever if that is -1. Throws what the child threw.
  [[nodiscard]] bool child_has_started(int milliseconds);

 private:
  UniqueFd read_end_;
  UniqueFd write_end_;
};

}  // namespace box
