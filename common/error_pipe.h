// Tells the parent why its child never reached execve(2).
#pragma once

#include <functional>

#include "common/failure.h"
#include "common/unique_fd.h"

namespace box {

// Both ends are close-on-exec: a successful execve() closes the child's end, and the parent reads
// end-of-file. So that this is not mistaken for the end of a child that was killed on its way, a
// byte comes before it; and if setting up or the execve() fails, a report. The idea is old; crun
// and Python's subprocess do it too.
class ErrorPipe {
 public:
  ErrorPipe();

  // In the child: runs `body`, reports the exception that it throws, and leaves with _exit(2).
  [[noreturn]] void run_child(const std::function<void()>& body) noexcept;
  // In the child, in run_child(): nothing but the execve() is left.
  static void announce_exec();
  // The descriptor of the child's end, which must stay open until then.
  [[nodiscard]] static int end_of_child();

  // In the parent, after fork(): from now on only the child can write.
  void close_child_end() { write_end_.close(); }
  // In the parent: readable when there is something to learn from state_of_child().
  [[nodiscard]] int get() const { return read_end_.get(); }

  enum class State {
    kBuilding,
    kStarted,  // it has become the command
    kGone,     // it has ended without a word
  };
  // In the parent: waits at most so many milliseconds for a change, or for ever if that is -1.
  // Throws what the child threw.
  [[nodiscard]] State state_of_child(int milliseconds);
  // In the parent, which has failed itself: if the child had failed before, that is the failure to
  // report, see first_failure().
  void keep_report() noexcept;

 private:
  UniqueFd read_end_;
  UniqueFd write_end_;
  bool exec_announced_ = false;
};

// What keep_report() has found, or nullptr.
[[nodiscard]] const Failure* first_failure();

}  // namespace box
