// Reports to the parent why its child never reached execve(2).
#pragma once

#include <exception>
#include <functional>
#include <utility>

#include "common/failure.h"
#include "common/unique_fd.h"

namespace box {

// Both ends are close-on-exec: a successful execve() closes the child's end, and the parent reads
// end-of-file. A child that was killed on its way would look the same, so a byte comes before the
// end-of-file; and if the set-up or the execve() fails, the child writes a report. The idea is old;
// crun and Python's subprocess do it too.
class ErrorPipe {
 public:
  ErrorPipe();
  // For a process that is not the parent: the end of a pipe or socket from which it reads what a
  // child reports after report_to().
  explicit ErrorPipe(UniqueFd read_end) : read_end_(std::move(read_end)) {}

  // In the child: runs `body`, reports the exception that `body` throws, and ends with _exit(2).
  [[noreturn]] void run_child(const std::function<void()>& body) noexcept;
  // In the child, in another thread than that of run_child(): reports the exception as that does,
  // and ends the process.
  [[noreturn]] static void report_and_end(std::exception_ptr thrown) noexcept;
  // In the child, in run_child(): only the execve() is left to do.
  static void announce_exec();
  // In the child: for the parent, the child has done its part. The parent sees it as started, and
  // what fails from now on is reported to the process that has the other end of `pipe`, see
  // ErrorPipe(UniqueFd).
  static void report_to(UniqueFd pipe);

  // The descriptor of the child's end, which must stay open until then.
  [[nodiscard]] static int end_of_child();

  // In the parent, after fork(): from now on only the child can write to the pipe.
  void close_child_end() { write_end_.close(); }
  // In the parent: a descriptor that is readable when state_of_child() has something new to return.
  [[nodiscard]] int get() const { return read_end_.get(); }

  enum class State {
    kBuilding,
    kStarted,  // it has become the command
    kGone,     // it has ended without a word
  };
  // In the parent: waits at most that many milliseconds for a change, or without a limit if it is
  // -1. Throws what the child threw.
  [[nodiscard]] State state_of_child(int milliseconds);
  // In the parent, after it has failed itself: if the child failed before that, the child's failure
  // is the one to report, see first_failure().
  void keep_report() noexcept;

 private:
  UniqueFd read_end_;
  UniqueFd write_end_;
  bool exec_announced_ = false;
};

// The report that keep_report() has found, or nullptr.
[[nodiscard]] const Failure* first_failure();

}  // namespace box
