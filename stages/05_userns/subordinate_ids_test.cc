#include "stages/05_userns/subordinate_ids.h"

#include <string>

#include <gtest/gtest.h>

namespace box {
namespace {

TEST(RootsSubordinateIds, ReadsRootsLines) {
  const IdMap map = roots_subordinate_ids("user:100000:65536\nroot:200000:1000\n0:300000:50\n");
  ASSERT_EQ(map.size(), 2U);
  EXPECT_EQ(map[0].inside, 0U);
  EXPECT_EQ(map[0].outside, 200000U);
  EXPECT_EQ(map[0].count, 1000U);
  EXPECT_EQ(map[1].inside, 1000U);
  EXPECT_EQ(map[1].outside, 300000U);
}

TEST(RootsSubordinateIds, PassesOverWhatIsNoRange) {
  for (const char* text : {"", "root", "root:1", "root:1:", "root:a:1", "root:1:0", "root:-1:5",
                           "root:4294967290:65536", "root:1:18446744073709551615", "roots:1:1",
                           ":1:1", "root:1:1:1"}) {
    EXPECT_TRUE(roots_subordinate_ids(text).empty()) << text;
  }
}

// 4294967295 is no id, see chown(2).
TEST(RootsSubordinateIds, MayBeAllIds) {
  EXPECT_EQ(roots_subordinate_ids("root:0:4294967295\n").size(), 1U);
  EXPECT_EQ(roots_subordinate_ids("root:0:4294967294\nroot:0:1\n").size(), 2U);
  EXPECT_EQ(roots_subordinate_ids("root:0:4294967295\nroot:0:1\n").size(), 1U);
}

TEST(IdsOfNobodyElse, AreThoseOfSystemdsContainers) {
  const IdMap map = ids_of_nobody_else("user:100000:65536\n");
  ASSERT_EQ(map.size(), 1U);
  EXPECT_EQ(map[0].inside, 0U);
  EXPECT_EQ(map[0].outside, 524288U);
  EXPECT_EQ(map[0].count, 65536U);
}

TEST(IdsOfNobodyElse, OverlapNoUsers) {
  EXPECT_EQ(ids_of_nobody_else("u:493216:65536\n")[0].outside, 589824U);
  EXPECT_EQ(ids_of_nobody_else("u:524288:1\nv:655359:1\n")[0].outside, 655360U);
  EXPECT_EQ(ids_of_nobody_else("u:100000:4000000\n")[0].outside, 4128768U);
  EXPECT_THROW((void)ids_of_nobody_else("u:1:4294967290\n"), Failure);
}

}  // namespace
}  // namespace box
