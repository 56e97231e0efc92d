#include "stages/09_lsm/selinux.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>

namespace box {
namespace {

// A level that no container has, because no policy does.
std::string level() { return fmt::format("test:c{}", getpid()); }

TEST(ClaimLevel, IsForOneAtATime) {
  UniqueFd first = claim_level(level());
  ASSERT_NE(first.get(), -1);
  EXPECT_EQ(claim_level(level()).get(), -1);
  EXPECT_NE(claim_level(level() + ",c1").get(), -1);
  first = UniqueFd();
  EXPECT_NE(claim_level(level()).get(), -1);
}

TEST(ClaimLevel, OfAnyLength) { EXPECT_EQ(claim_level(std::string(4096, 'c')).get(), -1); }

TEST(LabelRequest, IsDefaultWithoutAnyPart) {
  EXPECT_TRUE(LabelRequest().is_default());
  LabelRequest with_level;
  with_level.level = "s0";
  EXPECT_FALSE(with_level.is_default());
  LabelRequest disabled;
  disabled.disabled = true;
  EXPECT_FALSE(disabled.is_default());
}

}  // namespace
}  // namespace box
