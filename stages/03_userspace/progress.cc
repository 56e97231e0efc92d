#include "stages/03_userspace/progress.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>

namespace box {
namespace {

using std::chrono::steady_clock;

constexpr auto kBetweenTwoDraws = std::chrono::milliseconds(67);  // 15 in a second
constexpr int kUsualWidth = 80;
constexpr int kNarrowestBar = 10;

int width_of_terminal() {
  struct winsize size = {};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == -1 || size.ws_col == 0) return kUsualWidth;
  return size.ws_col;
}

void draw(const std::string& line) {
  // "\r" goes to the start of the line, "\x1b[K" erases from there on, see console_codes(4).
  const std::string text = "\r\x1b[K" + line;
  (void)!write(STDERR_FILENO, text.data(),
               text.size());  // a failure to draw must not stop the copy
}

}  // namespace

ProgressBar::ProgressBar() : on_terminal_(isatty(STDERR_FILENO) == 1), next_(steady_clock::now()) {}

ProgressBar::~ProgressBar() {
  if (drawn_) draw("");
}

void ProgressBar::show(std::uint64_t bytes) {
  if (!on_terminal_) return;
  const auto now = steady_clock::now();
  if (now < next_) return;
  next_ = now + kBetweenTwoDraws;
  // A character in the last column makes some terminals move to the next line.
  draw(draw_bar(bytes, total_, width_of_terminal() - 1));
  drawn_ = true;
}

std::string draw_bar(std::uint64_t done, std::uint64_t total, int width) {
  const double part =
      total == 0 ? 0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const std::string percent = fmt::format("{:3.0f} %", 100 * part);
  const std::string text =
      fmt::format(" {}  {} of {}", percent, format_bytes(done), format_bytes(total));
  const int room = width - static_cast<int>(text.size()) - 2;
  if (room < kNarrowestBar) return percent.substr(0, static_cast<std::size_t>(std::max(width, 0)));
  const int filled = static_cast<int>(part * room);
  return fmt::format("[{}{}]{}", std::string(static_cast<std::size_t>(filled), '#'),
                     std::string(static_cast<std::size_t>(room - filled), '.'), text);
}

std::string format_bytes(std::uint64_t bytes) {
  constexpr const char* kUnits[] = {"kB", "MB", "GB", "TB"};
  if (bytes < 1000) return fmt::format("{} B", bytes);
  auto value = static_cast<double>(bytes);
  const char* unit = "";
  for (const char* larger : kUnits) {
    if (value < 999.5) break;
    value /= 1000;
    unit = larger;
  }
  return fmt::format("{:.{}f} {}", value, value < 9.95 ? 1 : 0, unit);
}

std::string summarize(const Copied& copied, std::chrono::duration<double> time) {
  std::string text =
      fmt::format("copied {} files, {} in {:.{}f} s", copied.files, format_bytes(copied.bytes),
                  time.count(), time.count() < 1 ? 2 : 1);
  if (copied.skipped > 0) {
    text += fmt::format("; skipped {}, the first: {}", copied.skipped, copied.first_skipped);
  }
  return text;
}

}  // namespace box
