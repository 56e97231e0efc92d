// The agent: does on a host what the harness, which runs elsewhere, asks for: starts programs,
// kills all their processes, reads what the host knows. It reads JSON lines on stdin and writes
// them to stdout.
//
//   echo '{"id": 1, "do": "run", "argv": ["/bin/echo", "hello"]}' | agent --own-host

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <string>
#include <string_view>

#include "common/check.h"
#include "harness/agent/requests.h"
#include "harness/agent/sandbox.h"
#include "harness/agent/supervisor.h"

namespace box {
namespace {

constexpr std::size_t kLongestRequest = 64U << 20;

void write_line(int fd, const std::string& line) {
  const std::string text = line + "\n";
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto size =
        check_quietly(TEMP_FAILURE_RETRY(write(fd, rest.data(), rest.size())), "write(stdout)");
    rest.remove_prefix(static_cast<std::size_t>(size));
  }
}

int milliseconds_until(const std::optional<Clock::time_point>& deadline) {
  if (!deadline) return -1;
  const auto rest = std::chrono::duration_cast<std::chrono::milliseconds>(*deadline - Clock::now());
  return static_cast<int>(std::clamp<long long>(rest.count() + 1, 0, 60'000));
}

std::optional<Clock::time_point> earlier(const std::optional<Clock::time_point>& a,
                                         const std::optional<Clock::time_point>& b) {
  return !a || (b && *b < *a) ? b : a;
}

// Removes the complete lines from `text` and returns them.
void take_requests(std::string& text, Requests& requests) {
  std::size_t start = 0;
  for (auto end = text.find('\n'); end != std::string::npos; end = text.find('\n', start)) {
    if (end > start) requests.take(text.substr(start, end - start));
    start = end + 1;
  }
  text.erase(0, start);
  if (text.size() > kLongestRequest) throw Failure("a request is too long");
}

void serve() {
  Supervisor supervisor;
  // Not among the numbers 0 to 2, so that no program under test gets one of them by accident.
  const UniqueFd in(check_quietly(fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3), "dup(stdin)"));
  const UniqueFd out(check_quietly(fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3), "dup(stdout)"));
  Requests requests(supervisor, [&](const std::string& line) { write_line(out.get(), line); });
  std::string text;
  while (true) {
    std::vector<pollfd> events = {{in.get(), POLLIN, 0}};
    supervisor.add_events(events);
    const auto deadline = earlier(supervisor.next_deadline(), requests.next_deadline());
    if (poll(events.data(), events.size(), milliseconds_until(deadline)) == -1 && errno != EINTR) {
      check_quietly(-1, "poll()");
    }
    supervisor.handle(events);
    supervisor.enforce_limits();
    if (events[0].revents != 0) {
      char part[64 * 1024];
      const auto size =
          check_quietly(TEMP_FAILURE_RETRY(read(in.get(), part, sizeof part)), "read(stdin)");
      if (size == 0) return;  // the harness has ended, so we end, and with us all programs
      text.append(part, static_cast<std::size_t>(size));
      take_requests(text, requests);
    }
    requests.answer_waiting();
  }
}

}  // namespace
}  // namespace box

int main(int argc, char** argv) {
  box::name_program("agent");
  try {
    if (argc > 1 && std::strcmp(argv[1], "--own-host") == 0) {
      box::enter_own_host({argv + 2, argv + argc});
    } else if (argc > 1) {
      throw box::Failure("Usage: agent [--own-host [DIRECTORY_TO_KEEP...]]");
    }
    box::serve();
    return 0;
  } catch (const std::exception& e) {
    box::warn(e.what(), "");
    return 1;
  }
}
