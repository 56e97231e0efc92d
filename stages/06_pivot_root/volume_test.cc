#include "stages/06_pivot_root/volume.h"

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

TEST(ParseVolume, TakesWhatUsersOfDockerType) {
  for (const char* options : {"z", "Z", "ro,z", "idmap", "cached", "rprivate", "nosuid,nodev"}) {
    EXPECT_NO_THROW((void)parse_volume(std::string("/h:/d:") + options)) << options;
  }
  EXPECT_TRUE(parse_volume("/h:/d:z,ro").read_only);
  EXPECT_TRUE(parse_volume("/h:/d:noexec").no_exec);
  for (const char* options : {"rshared", "slave", "U", "nocopy", "ro,,z", ","}) {
    EXPECT_THROW((void)parse_volume(std::string("/h:/d:") + options), Failure) << options;
  }
}

TEST(ParseVolume, RefusesTheContainersOwnPlaces) {
  for (const char* target : {"/proc", "/proc/sys", "/sys/fs/cgroup", "/dev", "/x/../proc/"}) {
    EXPECT_THROW((void)parse_volume(std::string("/h:") + target), Failure) << target;
  }
  for (const char* target : {"/process", "/dev/fuse", "/system"}) {
    EXPECT_EQ(parse_volume(std::string("/h:") + target).target, target);
  }
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

TEST(ParseTmpfs, ReadsItsOptions) {
  const Volume plain = parse_tmpfs("/run");
  EXPECT_EQ(plain.target, "/run");
  EXPECT_EQ(plain.source, "");
  EXPECT_TRUE(plain.no_exec);
  EXPECT_EQ(plain.tmpfs.front().second, "1777");
  const Volume small = parse_tmpfs("/run:size=64k,mode=0700,exec,ro");
  EXPECT_FALSE(small.no_exec);
  EXPECT_TRUE(small.read_only);
  EXPECT_EQ(small.tmpfs.back(), (std::pair<std::string, std::string>("mode", "0700")));
}

TEST(ParseTmpfs, RefusesWhatIsNoTmpfs) {
  for (const char* text :
       {"", "run", "/", "///", "////", "/run:", "/run:size", "/run:size=", "/run:huge=always",
        "/run:size=1,x", "/run:size=-1", "/proc/x", "/dev"}) {
    EXPECT_THROW((void)parse_tmpfs(text), Failure) << text;
  }
}

TEST(RootIsInitramfs, GoesByTheType) {
  EXPECT_TRUE(
      root_is_initramfs("1 1 0:2 / / rw - rootfs rootfs rw\n21 1 0:5 / /proc rw - proc - rw"));
  EXPECT_FALSE(root_is_initramfs("24 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n"));
}

}  // namespace
}  // namespace box
