#include "stages/06_pivot_root/relay.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <termios.h>
#include <unistd.h>

#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace box {
namespace {

std::string without_returns(const std::vector<std::string>& parts) {
  std::string text;
  bool held = false;
  for (const auto& part : parts) append_without_returns(text, part, held);
  return text + (held ? "<held>" : "");
}

TEST(AppendWithoutReturns, LeavesOutOnlyTheReturnBeforeALineFeed) {
  const struct {
    std::vector<std::string> parts;
    std::string expected;
  } kCases[] = {
      {{"a\r\nb\r\n"}, "a\nb\n"},
      {{"a\r", "\nb"}, "a\nb"},
      {{"10%\r20%\r"}, "10%\r20%<held>"},
      {{"a\r\r\n"}, "a\r\n"},
      {{"\r", "\r", "x"}, "\r\rx"},
      {{"\n\r"}, "\n<held>"},
      {{std::string("\0\r\0", 3)}, std::string("\0\r\0", 3)},
  };
  for (const auto& [parts, expected] : kCases) EXPECT_EQ(without_returns(parts), expected);
}

// A pipe in place of each way of our caller's terminal, and a terminal.
class RelayTest : public testing::Test {
 protected:
  RelayTest() {
    int master = -1;
    int slave = -1;
    EXPECT_EQ(openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
    slave_ = UniqueFd(slave);
    termios modes = {};
    tcgetattr(slave, &modes);
    cfmakeraw(&modes);
    tcsetattr(slave, TCSANOW, &modes);
    std::tie(input_, keyboard_) = make_pipe();
    std::tie(screen_, output_) = make_pipe();
    relay_.emplace(input_.get(), output_.get());
    relay_->connect(UniqueFd(master));
  }

  static std::pair<UniqueFd, UniqueFd> make_pipe() {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    return {UniqueFd(ends[0]), UniqueFd(ends[1])};
  }

  static void put(const UniqueFd& fd, const std::string& text) {
    EXPECT_EQ(write(fd.get(), text.data(), text.size()), static_cast<ssize_t>(text.size()));
  }

  static std::string get(const UniqueFd& fd) {
    char bytes[1 << 16];
    const auto size = read(fd.get(), bytes, sizeof bytes);
    return {bytes, size > 0 ? static_cast<std::size_t>(size) : 0};
  }

  UniqueFd slave_;
  UniqueFd input_, keyboard_;
  UniqueFd screen_, output_;
  std::optional<Relay> relay_;
};

TEST_F(RelayTest, CopiesBothWays) {
  put(keyboard_, "ls\n");
  put(slave_, "a b\r\n");
  relay_->copy(true, false);
  EXPECT_EQ(relay_->typed(), "ls\n");
  EXPECT_EQ(get(slave_), "ls\n");
  EXPECT_EQ(get(screen_), "a b\r\n");
}

TEST_F(RelayTest, LeavesTheKeysOfOthersAlone) {
  put(keyboard_, "for less");
  relay_->copy(false, false);
  EXPECT_EQ(relay_->typed(), "");
  EXPECT_EQ(get(input_), "for less");
}

TEST_F(RelayTest, DrainsWhatIsHeldBack) {
  put(slave_, "one\r\ntwo\r");
  EXPECT_TRUE(relay_->drain(true));
  EXPECT_EQ(get(screen_), "one\ntwo\r");
}

TEST_F(RelayTest, IsNotDrainedWhileTheScreenIsFull) {
  std::string filled;
  while (write(output_.get(), "x", 1) == 1) filled += 'x';
  put(slave_, "last words");
  EXPECT_FALSE(relay_->drain(false));
  std::vector<pollfd> events;
  relay_->add_to(events, false);
  ASSERT_EQ(events.size(), 1U);  // nothing more is read before this is written
  EXPECT_EQ(events[0].fd, output_.get());
  while (!get(screen_).empty()) continue;
  EXPECT_TRUE(relay_->drain(false));
  EXPECT_EQ(get(screen_), "last words");
}

TEST_F(RelayTest, NoticesThatTheCallerIsGone) {
  keyboard_.close();
  relay_->copy(true, false);
  EXPECT_TRUE(relay_->has_lost_caller());
  relay_->hang_up();
  EXPECT_FALSE(relay_->is_connected());
  char byte = 0;
  EXPECT_EQ(read(slave_.get(), &byte, 1), 0);  // of a terminal that was hung up
  EXPECT_TRUE(relay_->drain(false));
}

}  // namespace
}  // namespace box
