#include "common/check.h"

#include <unistd.h>

#include <string>

namespace box {
namespace {

struct Tracer {
  bool on = false;
  std::string program;
  std::string process = "parent";
};

Tracer& tracer() {
  static Tracer tracer;
  return tracer;
}

}  // namespace

void start_tracing(const std::string& program) {
  tracer().on = true;
  tracer().program = program;
}

bool tracing() { return tracer().on; }

void trace_as(const std::string& process) { tracer().process = process; }

void trace(const std::string& line) {
  if (!tracing()) return;
  const std::string text = fmt::format("{}: {:<6}  {}\n", tracer().program, tracer().process, line);
  // One write(2), so that the lines of two processes do not mix. That stderr is closed or full
  // is no reason to stop.
  (void)!write(STDERR_FILENO, text.data(), text.size());
}

namespace check_internal {

void fail(int error, fmt::string_view call, fmt::format_args arguments) {
  throw Failure(error, fmt::vformat(call, arguments));
}

void show(long long result, fmt::string_view call, fmt::format_args arguments) {
  trace(fmt::format("{} = {}", fmt::vformat(call, arguments), result));
}

}  // namespace check_internal
}  // namespace box
