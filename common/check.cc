#include "common/check.h"

#include <termios.h>
#include <unistd.h>

#include <string>

#include "common/printable.h"

namespace box {
namespace {

struct Tracer {
  bool on = false;
  std::string program = "box";
  std::string process = "parent";
};

Tracer& tracer() {
  static Tracer tracer;
  return tracer;
}

// One write(2), so that the lines of two processes do not mix. If stderr is closed or full, that is
// not a reason to stop. A terminal that does not process output, as in raw mode, needs "\r\n" to
// begin a line, see termios(3).
void write_to_stderr(std::string text) {
  termios modes = {};
  if (tcgetattr(STDERR_FILENO, &modes) == 0 && (modes.c_oflag & OPOST) == 0) {
    for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 2) {
      text.replace(at, 1, "\r\n");
    }
  }
  (void)!write(STDERR_FILENO, text.data(), text.size());
}

}  // namespace

void name_program(const std::string& program) { tracer().program = program; }

void start_tracing() { tracer().on = true; }

bool tracing() { return tracer().on; }

void trace_as(const std::string& process) { tracer().process = process; }

void trace(const std::string& line) {
  if (!tracing()) return;
  write_to_stderr(
      fmt::format("{}: {:<6}  {}\n", tracer().program, tracer().process, printable(line)));
}

void warn(const std::string& message, const std::string& hint) {
  // An image may have names of megabytes.
  constexpr std::size_t kLongest = 4096;
  const auto line = [](const std::string& what) {
    return printable(what.size() <= kLongest ? what : what.substr(0, kLongest) + "...") + "\n";
  };
  std::string text = tracer().program + ": " + line(message);
  if (!hint.empty()) text += "hint: " + line(hint);
  write_to_stderr(text);
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
