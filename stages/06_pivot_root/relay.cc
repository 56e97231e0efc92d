#include "stages/06_pivot_root/relay.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/check.h"

namespace box {
namespace {

constexpr std::size_t kAtOnce = 4096;  // no read(2) of a terminal returns more, see n_tty.c
constexpr int kMostRounds = 256;

bool must_wait(int error) { return error == EAGAIN || error == EINTR; }

}  // namespace

void append_without_returns(std::string& text, std::string_view bytes, bool& held) {
  for (const char byte : bytes) {
    if (held && byte != '\n') text += '\r';
    held = byte == '\r';
    if (!held) text += byte;
  }
}

void Relay::connect(UniqueFd master) {
  master_ = std::move(master);
  check_quietly(fcntl(master_.get(), F_SETFL, O_RDWR | O_NONBLOCK), "fcntl(the new terminal)");
}

void Relay::add_to(std::vector<pollfd>& events, bool keys) const {
  if (keys && to_master_.empty() && !caller_is_gone_) events.push_back({input_, POLLIN, 0});
  if (!to_output_.empty()) events.push_back({output_, POLLOUT, 0});
  if (!is_connected()) return;
  const int from = to_output_.empty() ? POLLIN : 0;
  const int to = to_master_.empty() ? 0 : POLLOUT;
  if ((from | to) != 0) events.push_back({master_.get(), static_cast<short>(from | to), 0});
}

void Relay::copy(bool keys, bool ends_lines) {
  copy_keys(keys);
  (void)copy_output(ends_lines);
}

bool Relay::drain(bool ends_lines) {
  if (!copy_output(ends_lines)) return false;
  if (std::exchange(held_return_, false)) to_output_ += '\r';
  return write_some(output_, to_output_);
}

void Relay::copy_keys(bool keys) {
  typed_.clear();
  if (keys && to_master_.empty() && !caller_is_gone_) {
    pollfd ready = {input_, POLLIN, 0};
    char bytes[4096];
    if (poll(&ready, 1, 0) == 1) {
      const auto size = read(input_, bytes, sizeof bytes);
      if (size > 0) typed_.assign(bytes, static_cast<std::size_t>(size));
      caller_is_gone_ = size == 0 || (size == -1 && !must_wait(errno));
    }
    if (is_connected()) to_master_ = typed_;
  }
  if (is_connected()) (void)write_some(master_.get(), to_master_);
}

bool Relay::copy_output(bool ends_lines) {
  for (int round = 0; round < kMostRounds; ++round) {
    if (!write_some(output_, to_output_)) return false;
    char bytes[kAtOnce];
    const auto size = is_connected() ? read(master_.get(), bytes, sizeof bytes) : 0;
    if (size == -1 && errno == EINTR) continue;
    if (size <= 0) return true;
    const std::string_view text(bytes, static_cast<std::size_t>(size));
    if (ends_lines) {
      append_without_returns(to_output_, text, held_return_);
    } else {
      if (std::exchange(held_return_, false)) to_output_ += '\r';
      to_output_ += text;
    }
  }
  return false;
}

bool Relay::write_some(int fd, std::string& bytes) {
  std::size_t written = 0;
  while (written < bytes.size()) {
    const auto size = write(fd, bytes.data() + written, bytes.size() - written);
    if (size == -1 && must_wait(errno)) break;
    if (size == -1) {
      // Output that cannot be delivered must not make the container wait for ever.
      caller_is_gone_ = caller_is_gone_ || fd == output_;
      written = bytes.size();
      break;
    }
    written += static_cast<std::size_t>(size);
  }
  bytes.erase(0, written);
  return bytes.empty();
}

void Relay::hang_up() {
  master_.close();
  to_master_.clear();
}

}  // namespace box
