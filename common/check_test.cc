#include "common/check.h"

#include <fcntl.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace box {
namespace {

TEST(Check, PassesTheResultThrough) { EXPECT_EQ(check(42, "answer()"), 42); }

TEST(Check, NamesTheCallAndTheReason) {
  try {
    check(open("/no/such/file", O_RDONLY), "open({})", "/no/such/file");
    FAIL() << "did not throw";
  } catch (const Failure& failure) {
    EXPECT_STREQ(failure.what(), "open(/no/such/file): No such file or directory");
    EXPECT_EQ(failure.error(), ENOENT);
    EXPECT_EQ(failure.exit_status(), 125);
  }
}

// What check() does once tracing has begun, seen from a child: tracing cannot be stopped.
void trace_a_call_and_exit() {
  name_program("05_userns");
  start_tracing();
  trace_as("child");
  check(7, "dup({})", 3);
  check_quietly(8, "dup({})", 4);
  _exit(0);
}

void warn_and_exit() {
  name_program("08a_overlayfs");
  warn("user \x1b]0;title\x07\nfaked: line", "");
  _exit(0);
}

TEST(CheckDeathTest, PrintsNothingThatATerminalObeys) {
  EXPECT_EXIT(warn_and_exit(), testing::ExitedWithCode(0),
              "^08a_overlayfs: user \\?\\]0;title\\?\\?faked: line\n$");
}

TEST(CheckDeathTest, PrintsNoMegabytes) {
  const auto warn_of_much_and_exit = [] {
    name_program("08a_overlayfs");
    warn("user " + std::string(3'000'000, 'A'), "");
    _exit(0);
  };
  EXPECT_EXIT(warn_of_much_and_exit(), testing::ExitedWithCode(0),
              "^08a_overlayfs: user A{255}A*\\.\\.\\.\n$");
}

TEST(CheckDeathTest, ShowsCallsButNoPlumbingWhenTracing) {
  EXPECT_EXIT(trace_a_call_and_exit(), testing::ExitedWithCode(0),
              "^05_userns: child   dup\\(3\\) = 7\n$");
}

}  // namespace
}  // namespace box
