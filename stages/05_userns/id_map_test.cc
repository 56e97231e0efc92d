#include "stages/05_userns/id_map.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

TEST(IdMap, ReadsARange) {
  const IdRange range = parse_id_range("1:100000:65536");
  EXPECT_EQ(range.inside, 1U);
  EXPECT_EQ(range.outside, 100000U);
  EXPECT_EQ(range.count, 65536U);
}

TEST(IdMap, ReadsTheLastIds) { EXPECT_EQ(parse_id_range("0:4294967294:1").count, 1U); }

TEST(IdMap, RefusesWhatIsNoRange) {
  for (const char* text :
       {"", "0", "0:1", "0:1:", ":1:1", "0:1:1:1", "a:1:1", "0:-1:1", "0:1:0", " 0:1:1", "0:1:1 ",
        "0x0:1:1", "4294967295:0:1", "0:4294967294:2", "0:0:4294967295", "0:99999999999:1"}) {
    EXPECT_THROW((void)parse_id_range(text), Failure) << text;
  }
}

TEST(IdMap, RefusesRangesThatOverlap) {
  EXPECT_NO_THROW(check_that_ranges_are_disjoint({{0, 1000, 1}, {1, 100000, 65536}}));
  EXPECT_THROW(check_that_ranges_are_disjoint({{0, 1000, 2}, {1, 100000, 5}}), Failure);
  EXPECT_THROW(check_that_ranges_are_disjoint({{0, 1000, 1}, {1, 990, 20}}), Failure);
}

TEST(IdMap, KnowsWhatItMaps) {
  const IdMap map = {{.inside = 0, .outside = 1000, .count = 1},
                     {.inside = 5, .outside = 100000, .count = 10}};
  for (const unsigned id : {0U, 5U, 14U}) EXPECT_TRUE(maps(map, id)) << id;
  for (const unsigned id : {1U, 4U, 15U, 4294967294U}) EXPECT_FALSE(maps(map, id)) << id;
}

TEST(IdMap, KnowsWhereAnIdIsOutside) {
  const IdMap map = {{.inside = 0, .outside = 1000, .count = 1},
                     {.inside = 5, .outside = 100000, .count = 10}};
  EXPECT_EQ(outside_of(map, 0), 1000U);
  EXPECT_EQ(outside_of(map, 14), 100009U);
  for (const unsigned id : {1U, 4U, 15U, 4294967294U}) {
    EXPECT_THROW((void)outside_of(map, id), Failure) << id;
  }
}

TEST(IdMap, KnowsWhoHasANameInside) {
  const IdMap map = {{.inside = 0, .outside = 1000, .count = 1},
                     {.inside = 5, .outside = 100000, .count = 10}};
  for (const unsigned id : {1000U, 100000U, 100009U}) EXPECT_TRUE(has_outside(map, id)) << id;
  for (const unsigned id : {0U, 5U, 1001U, 100010U}) EXPECT_FALSE(has_outside(map, id)) << id;
}

}  // namespace
}  // namespace box
