#include "common/mount_points.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace box {
namespace {

TEST(DecodePath, ReadsWhatTheKernelWrites) {
  EXPECT_EQ(decode_path("/plain"), "/plain");
  EXPECT_EQ(decode_path(R"(/a\040b\011c\012d\134e)"), "/a b\tc\nd\\e");
  EXPECT_EQ(decode_path(R"(/a\134040)"), R"(/a\040)");
}

TEST(DecodePath, LeavesWhatIsNoCode) {
  for (const char* text : {R"(\)", R"(\04)", R"(\08x)", R"(x\)", ""}) {
    EXPECT_EQ(decode_path(text), text);
  }
}

TEST(MountPoints, HasOurs) {
  const auto points = mount_points();
  EXPECT_NE(std::find(points.begin(), points.end(), "/proc"), points.end());
}

TEST(MountFields, AreSeparatedBySpacesAlone) {
  const std::vector<std::string> fields = {"40", "/a\rb", "", "c"};
  EXPECT_EQ(mount_fields("40 /a\rb  c"), fields);
}

TEST(IsIn, GoesByWholeNames) {
  EXPECT_TRUE(is_in("/proc", "/proc"));
  EXPECT_TRUE(is_in("/proc/1", "/proc"));
  EXPECT_TRUE(is_in("/x", "/"));
  EXPECT_FALSE(is_in("/process", "/proc"));
  EXPECT_FALSE(is_in("/pro", "/proc"));
}

}  // namespace
}  // namespace box
