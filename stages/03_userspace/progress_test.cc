#include "stages/03_userspace/progress.h"

#include <gtest/gtest.h>

namespace box {
namespace {

TEST(Progress, DrawsABarThatFits) {
  EXPECT_EQ(draw_bar(457, 914, 44), "[##########..........]  50 %  457 B of 914 B");
  EXPECT_EQ(draw_bar(0, 0, 40), "[....................]   0 %  0 B of 0 B");
  EXPECT_EQ(draw_bar(9, 4, 40), "[####################] 100 %  9 B of 4 B");
  EXPECT_EQ(draw_bar(9, 4, 30), "[##########] 100 %  9 B of 4 B");
  EXPECT_EQ(draw_bar(9, 4, 29), "100 %");
  EXPECT_EQ(draw_bar(1, 2, 20), " 50 %");
  EXPECT_EQ(draw_bar(1, 2, 3), " 50");
  EXPECT_EQ(draw_bar(1, 2, -1), "");
  for (int width = 0; width < 200; ++width) {
    EXPECT_LE(draw_bar(411'000'000, 914'000'000, width).size(), static_cast<std::size_t>(width));
  }
}

TEST(Progress, SaysBytesInUnitsOf1000) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(1'000), "1.0 kB");
  EXPECT_EQ(format_bytes(9'960), "10 kB");
  EXPECT_EQ(format_bytes(999'600), "1.0 MB");
  EXPECT_EQ(format_bytes(914'000'000), "914 MB");
  EXPECT_EQ(format_bytes(8'400'000'000), "8.4 GB");
  EXPECT_EQ(format_bytes(7'000'000'000'000'000), "7000 TB");
}

TEST(Progress, Summarizes) {
  Copied copied{.files = 8541, .bytes = 914'000'000, .skipped = 0, .first_skipped = ""};
  EXPECT_EQ(summarize(copied, std::chrono::milliseconds(1234)),
            "copied 8541 files, 914 MB in 1.2 s");
  copied.skipped = 2;
  copied.first_skipped = "/usr/x: Permission denied";
  EXPECT_EQ(summarize(copied, std::chrono::milliseconds(40)),
            "copied 8541 files, 914 MB in 0.04 s; skipped 2, the first: /usr/x: Permission denied");
}

}  // namespace
}  // namespace box
