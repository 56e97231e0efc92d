#include "stages/05_userns/user_database.h"

#include <string>

#include <gtest/gtest.h>

namespace box {
namespace {

constexpr const char* kPasswd =
    "root:x:0:0:root:/root:/bin/sh\n"
    "\n:::\nshort:x:1\nbad:x:y:z::/:\nlast:x:4294967295:0::/:\n"
    "app:x:1000:1001::/home/app:/bin/sh\n"
    "77:x:5:6::/seven:/bin/sh\n"
    "twin:x:1000:7::/twin:/bin/sh\n"
    "six:x:14:15::/six\n"
    "few:x:12:13";

TEST(FindPasswdEntry, ByNameOrByNumber) {
  const auto app = find_passwd_entry(kPasswd, "app");
  ASSERT_TRUE(app);
  EXPECT_EQ(app->uid, 1000U);
  EXPECT_EQ(app->gid, 1001U);
  EXPECT_EQ(app->home, "/home/app");
  EXPECT_EQ(find_passwd_entry(kPasswd, "1000")->name, "app") << "the first one counts";
  EXPECT_EQ(find_passwd_entry(kPasswd, "77")->home, "/seven") << "a name may be digits";
  EXPECT_EQ(find_passwd_entry(kPasswd, "few")->home, "");
  EXPECT_EQ(find_passwd_entry(kPasswd, "six")->home, "/six") << "without a shell";
}

TEST(FindPasswdEntry, LinesThatAreNoneAreLeftOut) {
  for (const char* user : {"", "short", "bad", "last", "4294967295", "nobody", "-1", "app:x"}) {
    EXPECT_FALSE(find_passwd_entry(kPasswd, user)) << user;
  }
  EXPECT_FALSE(find_passwd_entry("", "root"));
}

constexpr const char* kGroup =
    "root:x:0:\nstaff:x:50:app\ndocker:x:999:x,app,y\nbad:x:no:app\nshort:x\naudio:x:29:applet\n";

TEST(FindGroup, ByName) {
  EXPECT_EQ(find_group(kGroup, "staff"), 50U);
  for (const char* name : {"", "bad", "short", "x"}) EXPECT_FALSE(find_group(kGroup, name)) << name;
}

TEST(GroupsOf, AreThoseThatListTheUser) {
  EXPECT_EQ(groups_of(kGroup, "app"), (std::vector<gid_t>{50, 999}));
  EXPECT_TRUE(groups_of(kGroup, "").empty());
  EXPECT_TRUE(groups_of(kGroup, "root").empty());
}

TEST(ReadDatabase, OfWhatIsNotThereIsEmpty) { EXPECT_EQ(read_database("/no/such/file"), ""); }

}  // namespace
}  // namespace box
