#include "common/error_pipe.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <climits>
#include <cstring>
#include <exception>
#include <string>

#include "common/check.h"
#include "common/failure.h"

namespace box {
namespace {

struct Report {
  int error = 0;
  int exit_status = kExitSetupFailed;
  char what[2000] = {};
  char hint[1000] = {};
};
static_assert(sizeof(Report) <= PIPE_BUF, "a report is written and read whole, see pipe(7)");

void copy_text(char* to, size_t size, const std::string& text) {
  std::strncpy(to, text.c_str(), size - 1);  // the last byte stays 0
}

Report report_on(std::exception_ptr thrown) {
  Report report;
  try {
    std::rethrow_exception(std::move(thrown));
  } catch (const Failure& failure) {
    report.error = failure.error();
    report.exit_status = failure.exit_status();
    copy_text(report.what, sizeof report.what, failure.what());
    copy_text(report.hint, sizeof report.hint, failure.hint());
  } catch (const std::exception& e) {
    copy_text(report.what, sizeof report.what, e.what());
  }
  return report;
}

}  // namespace

ErrorPipe::ErrorPipe() {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  read_end_ = UniqueFd(ends[0]);
  write_end_ = UniqueFd(ends[1]);
}

void ErrorPipe::run_child(const std::function<void()>& body) noexcept {
  read_end_.close();
  try {
    body();
  } catch (...) {
    const Report report = report_on(std::current_exception());
    // If the parent is gone, there is nobody left to tell.
    (void)!write(write_end_.get(), &report, sizeof report);
  }
  _exit(kExitSetupFailed);  // not exit(): the parent's buffers and handlers are not ours
}

bool ErrorPipe::child_has_started(int milliseconds) {
  pollfd event = {read_end_.get(), POLLIN, 0};
  if (check_quietly(TEMP_FAILURE_RETRY(poll(&event, 1, milliseconds)), "poll()") == 0) return false;
  Report report;
  const auto size = check_quietly(TEMP_FAILURE_RETRY(read(read_end_.get(), &report, sizeof report)),
                                  "read(the child's error pipe)");
  if (size == 0) return true;
  throw Failure::reported(report.error, report.what, report.exit_status, report.hint);
}

}  // namespace box
