#include "stages/09_lsm/kernel_log.h"

#include <gtest/gtest.h>

namespace box {
namespace {

const std::string kBegin = "5,812,48210391,-;audit: type=1400 audit(1732650000.123:45): ";
const std::string kMount =
    R"(apparmor="DENIED" operation="mount" class="mount" info="failed mntpnt match" error=-13)"
    R"( profile="box" name="/mnt/" pid=812 comm="mount" fstype="tmpfs" srcname="x")";
const std::string kAvc =
    R"(avc:  denied  { read } for  pid=812 comm="cat" name="shadow" dev="vda" ino=17)"
    R"( scontext=system_u:system_r:box_t:s0:c1,c2 tcontext=system_u:object_r:shadow_t:s0)"
    R"( tclass=file permissive=0)";

struct Case {
  const char* name;
  std::string record;
  std::string label;
  std::string denial;
};

class DenialIn : public testing::TestWithParam<Case> {};

TEST_P(DenialIn, Finds) {
  EXPECT_EQ(denial_in(GetParam().record, GetParam().label), GetParam().denial);
}

INSTANTIATE_TEST_SUITE_P(
    KernelLog, DenialIn,
    testing::Values(Case{"AppArmor", kBegin + kMount + "\n SUBSYSTEM=audit\n", "box", kMount},
                    Case{"AnotherProfile", kBegin + kMount, "bo", ""},
                    Case{"SELinux", kBegin + kAvc, "system_u:system_r:box_t:s0:c1,c2", kAvc},
                    Case{"AnotherLevel", kBegin + kAvc, "system_u:system_r:box_t:s0:c1", ""},
                    Case{"Allowed",
                         kBegin + R"(apparmor="ALLOWED" operation="mount" profile="box")", "box",
                         ""},
                    Case{"NotOfAudit", "12,812,48210391,-;" + kMount, "box", ""},
                    Case{"SomethingElse", "6,1,0,-;Linux version 6.1", "box", ""},
                    Case{"Nothing", "", "box", ""}),
    [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace box
