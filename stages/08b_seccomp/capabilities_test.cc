#include "stages/08b_seccomp/capabilities.h"

#include <gtest/gtest.h>
#include <linux/capability.h>

#include "common/failure.h"

namespace box {
namespace {

TEST(Capabilities, DefaultIsDockers) { EXPECT_EQ(default_capabilities(), 0xa80425fbU); }

TEST(Capabilities, HaveNames) {
  for (const char* name : {"CAP_SYS_ADMIN", "SYS_ADMIN", "sys_admin", "Cap_Sys_Admin"}) {
    EXPECT_EQ(capability_called(name), CAP_SYS_ADMIN) << name;
  }
  EXPECT_EQ(capability_called("CHOWN"), 0);
  EXPECT_EQ(capability_called("CHECKPOINT_RESTORE"), CAP_LAST_CAP);
  for (const char* name : {"", "CAP_", "CAP_CAP_KILL", "SYS_ADMIN ", "21", "ALL"}) {
    EXPECT_FALSE(capability_called(name).has_value()) << name;
  }
  EXPECT_EQ(names_of_capabilities(bit_of(CAP_KILL) | bit_of(CAP_CHOWN)), "CHOWN, KILL");
  EXPECT_EQ(names_of_capabilities(0), "none");
}

TEST(Capabilities, AreGuessedFromWhatIsNear) {
  EXPECT_EQ(nearest_capability("sys_amdin"), "SYS_ADMIN");
  EXPECT_EQ(nearest_capability("CAP_KIL"), "KILL");
  EXPECT_EQ(nearest_capability("everything"), "");
}

TEST(GrantedCapabilities, FollowDocker) {
  const CapabilitySet usual = default_capabilities();
  const CapabilitySet all = all_capabilities();
  EXPECT_EQ(granted_capabilities({}, {}), usual);
  EXPECT_EQ(granted_capabilities({"SYS_TIME"}, {}), usual | bit_of(CAP_SYS_TIME));
  EXPECT_EQ(granted_capabilities({}, {"cap_kill"}), usual & ~bit_of(CAP_KILL));
  EXPECT_EQ(granted_capabilities({"KILL"}, {"KILL"}), usual);  // first dropped, then added
  EXPECT_EQ(granted_capabilities({"ALL"}, {}), all);
  EXPECT_EQ(granted_capabilities({"all"}, {"SYS_ADMIN"}), all & ~bit_of(CAP_SYS_ADMIN));
  EXPECT_EQ(granted_capabilities({}, {"ALL"}), 0U);
  EXPECT_EQ(granted_capabilities({"KILL", "CHOWN"}, {"All"}), bit_of(CAP_KILL) | bit_of(CAP_CHOWN));
  EXPECT_EQ(granted_capabilities({"ALL"}, {"ALL"}), all);
}

TEST(GrantedCapabilities, RefuseUnknownNames) {
  EXPECT_THROW((void)granted_capabilities({"KIL"}, {}), Failure);
  EXPECT_THROW((void)granted_capabilities({}, {""}), Failure);
}

}  // namespace
}  // namespace box
