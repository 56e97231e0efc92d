#include "common/error_pipe.h"

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <climits>
#include <cstring>
#include <exception>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "common/check.h"
#include "common/failure.h"

namespace box {
namespace {

// Each message begins with one of these.
constexpr char kExecAnnounced = 'x';
constexpr char kFailed = 'f';

struct Report {
  char kind = kFailed;
  int error = 0;
  int exit_status = kExitSetupFailed;
  char what[2000] = {};
  char hint[1000] = {};
};
static_assert(sizeof(Report) <= PIPE_BUF, "a report is written and read whole, see pipe(7)");

// A text that is too long loses its beginning; the reason is at its end.
void copy_text(char* to, size_t size, const std::string& text) {
  constexpr std::string_view kLeftOut = " ... ";
  const std::size_t most = size - 1;  // the last byte stays 0
  if (text.size() <= most) {
    text.copy(to, text.size());
    return;
  }
  const std::size_t begin = most / 2;
  const std::size_t end = most - begin - kLeftOut.size();
  text.copy(to, begin);
  kLeftOut.copy(to + begin, kLeftOut.size());
  text.copy(to + begin + kLeftOut.size(), end, text.size() - end);
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

int child_end = -1;            // in the child: the end that it writes to
std::optional<Failure> first;  // in the parent: the report that keep_report() has found

}  // namespace

ErrorPipe::ErrorPipe() {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  read_end_ = UniqueFd(ends[0]);
  write_end_ = UniqueFd(ends[1]);
}

void ErrorPipe::run_child(const std::function<void()>& body) noexcept {
  read_end_.close();
  child_end = write_end_.get();
  try {
    body();
  } catch (...) {
    report_and_end(std::current_exception());
  }
  _exit(kExitSetupFailed);  // not exit(): the parent's buffers and handlers are not ours
}

void ErrorPipe::report_and_end(std::exception_ptr thrown) noexcept {
  const Report report = report_on(std::move(thrown));
  // If the parent is gone, no process is left to read this.
  (void)!write(child_end, &report, sizeof report);
  _exit(kExitSetupFailed);
}

void ErrorPipe::announce_exec() {
  const auto written = check_quietly(write(child_end, &kExecAnnounced, 1), "write(the error pipe)");
  if (written != 1) throw Failure("write(the error pipe): nothing was written");
}

void ErrorPipe::report_to(UniqueFd pipe) {
  // By its number, because the object that owns the descriptor is out of reach here.
  check_quietly(dup3(pipe.get(), child_end, O_CLOEXEC), "dup3(the error pipe)");
}

int ErrorPipe::end_of_child() { return child_end; }

ErrorPipe::State ErrorPipe::state_of_child(int milliseconds) {
  while (true) {
    pollfd event = {read_end_.get(), POLLIN, 0};
    if (check_quietly(TEMP_FAILURE_RETRY(poll(&event, 1, milliseconds)), "poll()") == 0) {
      return State::kBuilding;
    }
    Report report;
    const auto get = [&](std::size_t from, std::size_t size) {
      char* to = reinterpret_cast<char*>(&report) + from;
      return check_quietly(TEMP_FAILURE_RETRY(read(read_end_.get(), to, size)),
                           "read(the child's error pipe)");
    };
    if (get(0, 1) == 0) return exec_announced_ ? State::kStarted : State::kGone;
    if (report.kind == kFailed) {
      (void)get(1, sizeof report - 1);  // it was written whole, so it is there
      throw Failure::reported(report.error, report.what, report.exit_status, report.hint);
    }
    exec_announced_ = true;
  }
}

void ErrorPipe::keep_report() noexcept {
  try {
    (void)state_of_child(0);
  } catch (const Failure& failure) {
    try {
      first = failure;
    } catch (const std::exception&) {  // no memory: then the later failure is reported
    }
  } catch (const std::exception&) {  // there is no report
  }
}

const Failure* first_failure() { return first ? &*first : nullptr; }

}  // namespace box
