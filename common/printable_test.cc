#include "common/printable.h"

#include <gtest/gtest.h>

#include <utility>

namespace box {
namespace {

TEST(Printable, LeavesNothingThatATerminalActsUpon) {
  const std::pair<std::string, std::string> cases[] = {
      {"", ""},
      {"plain text, ~", "plain text, ~"},
      {"two\nlines\r\ttab", "two?lines??tab"},
      {"\x1b[31mred\x7f", "?[31mred?"},
      {std::string("\0", 1), "?"},
      {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x8b",
       "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\x8b"},
      {"\xc2\x9b"
       "2J",
       "??2J"},  // CSI in UTF-8
      {"\x9b"
       "2J",
       "?2J"},                   // and in Latin-1
      {"\xc2\xa0", "\xc2\xa0"},  // the first that is none
      {"\xe2\x82", "??"},        // cut off
      {"\xc0\x9b"
       "2J",
       "??2J"},  // longer than need be
      {"\xe0\x82\x9b"
       "2J",
       "???2J"},
      {"\xed\xa0\x80", "???"},       // half of a pair of UTF-16
      {"\xf4\x90\x80\x80", "????"},  // beyond the last character
      {"\xe2\x80\xae"
       "fdp.exe",
       "???fdp.exe"},  // shown from right to left
      {"\xe2\x81\xa6 \xe2\x80\xa8 \xe2\x80\xa7", "??? ??? \xe2\x80\xa7"},
      {"\xff", "?"},
  };
  for (const auto& [text, shown] : cases) EXPECT_EQ(printable(text), shown);
}

}  // namespace
}  // namespace box
