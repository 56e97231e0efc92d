#include "stages/06_pivot_root/mounts.h"

#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

TEST(ParseVolume, ReadsEachForm) {
  const Volume plain = parse_volume("/host:/data");
  EXPECT_EQ(plain.source, "/host");
  EXPECT_EQ(plain.target, "/data");
  EXPECT_FALSE(plain.read_only);
  EXPECT_TRUE(parse_volume("/host:/data:ro").read_only);
  EXPECT_FALSE(parse_volume("/host:/data:rw").read_only);
  EXPECT_EQ(parse_volume("relative:/data").source, "relative");
}

TEST(ParseVolume, TidiesTheTarget) {
  EXPECT_EQ(parse_volume("/h:/a//b/").target, "/a/b");
  EXPECT_EQ(parse_volume("/h:/a/../b/.").target, "/b");
  EXPECT_EQ(parse_volume("/h:/../b").target, "/b");
}

TEST(ParseVolume, RefusesWhatIsNoVolume) {
  for (const char* text :
       {"", "/h", ":", ":/d", "/h:", "/h:d", "/h:/", "/h:/.", "/h:/d:", "/h:/d:x", "/h:/d:ro:ro"}) {
    EXPECT_THROW((void)parse_volume(text), Failure) << text;
  }
}

}  // namespace
}  // namespace box
