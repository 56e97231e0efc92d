#include "stages/05_userns/handshake.h"

#include <unistd.h>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

TEST(Handshake, PassesMountsOnce) {
  Handshake handshake;
  MountsByPath mounts;
  mounts.emplace("/a", UniqueFd(dup(0)));
  mounts.emplace("/a", UniqueFd(dup(0)));
  handshake.let_child_go_on(mounts);
  MountsByPath passed = handshake.wait_for_parent();
  EXPECT_EQ(passed.size(), 2U);
  EXPECT_NE(take(passed, "/a").get(), -1);
  EXPECT_EQ(passed.size(), 1U);
  EXPECT_EQ(take(passed, "/b").get(), -1);
}

// wait_for_parent() closes the child's copy of the parent's end, here the only one.
TEST(Handshake, AParentThatHasGoneDoesNotLetTheChildGoOn) {
  Handshake handshake;
  EXPECT_THROW((void)handshake.wait_for_parent(), Failure);
}

}  // namespace
}  // namespace box
