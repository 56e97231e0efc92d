#include "stages/06_pivot_root/mount_point.h"

#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

namespace fs = std::filesystem;

class MountPoint : public testing::Test {
 protected:
  MountPoint() {
    std::string folder = testing::TempDir() + "/XXXXXX";
    top_ = mkdtemp(folder.data());
    fs::create_directories(top_ / "root");
    root_ = UniqueFd(open((top_ / "root").c_str(), O_PATH | O_CLOEXEC));
  }
  ~MountPoint() override { fs::remove_all(top_); }

  [[nodiscard]] fs::path inside(const std::string& path) const { return top_ / "root" / path; }

  // Where the mount point is, from the root.
  [[nodiscard]] std::string made(const std::string& path, bool directory) const {
    const UniqueFd fd = make_mount_point(root_, path, directory);
    const fs::path link = "/proc/self/fd/" + std::to_string(fd.get());
    return fs::read_symlink(link).string().substr(fs::canonical(top_ / "root").string().size());
  }

  [[nodiscard]] std::string refusal(const std::string& path, bool directory = true) const {
    try {
      (void)make_mount_point(root_, path, directory);
      return "";
    } catch (const Failure& failure) {
      return failure.what();
    }
  }

  fs::path top_;
  UniqueFd root_;
};

TEST_F(MountPoint, IsMadeWithItsParents) {
  EXPECT_EQ(made("/a/b/folder", true), "/a/b/folder");
  EXPECT_TRUE(fs::is_directory(inside("a/b/folder")));
  EXPECT_EQ(made("/a/c/file", false), "/a/c/file");
  EXPECT_TRUE(fs::is_regular_file(inside("a/c/file")));
}

TEST_F(MountPoint, LinksStayInTheRoot) {
  fs::create_directories(inside("run"));
  fs::create_directories(top_ / "outside");
  fs::create_symlink("/run", inside("absolute"));
  fs::create_symlink("../../../../run", inside("relative"));
  fs::create_symlink("absolute", inside("chain"));
  for (const char* path : {"/absolute/x", "/relative/x", "/chain/x"}) {
    EXPECT_EQ(made(path, true), "/run/x") << path;
  }
  fs::create_symlink((top_ / "outside").string(), inside("host"));
  EXPECT_EQ(made("/host/x", true), (fs::canonical(top_) / "outside/x").string());
  EXPECT_TRUE(fs::is_empty(top_ / "outside"));
}

TEST_F(MountPoint, WhatADanglingLinkNamesIsMade) {
  fs::create_directories(inside("etc"));
  fs::create_symlink("../run/systemd/resolve/stub-resolv.conf", inside("etc/resolv.conf"));
  EXPECT_EQ(made("/etc/resolv.conf", false), "/run/systemd/resolve/stub-resolv.conf");
}

TEST_F(MountPoint, ALoopIsRefused) {
  fs::create_symlink("loop", inside("loop"));
  EXPECT_EQ(refusal("/loop/x"), "open(/loop/x): Too many levels of symbolic links");
}

TEST_F(MountPoint, TheContainersOwnPlacesAreRefused) {
  for (const char* target : {"/", "..", "/dev", "/proc", "/proc/self/fd/4", "/sys/fs", "dev/."}) {
    fs::create_symlink(target, inside("link"));
    EXPECT_NE(refusal("/link").find("nothing may be mounted there"), std::string::npos) << target;
    fs::remove(inside("link"));
  }
  fs::create_symlink("/dev", inside("link"));
  EXPECT_EQ(made("/link/fuse", false), "/dev/fuse");
}

TEST_F(MountPoint, SaysWhichIsTheFile) {
  fs::create_directories(inside("folder"));
  std::ofstream(inside("file")) << "";
  EXPECT_EQ(refusal("/folder", false), "a file cannot be mounted on the directory /folder");
  EXPECT_EQ(refusal("/file", true), "a directory cannot be mounted on the file /file");
}

TEST_F(MountPoint, AFifoIsAFile) {
  ASSERT_EQ(mkfifo(inside("fifo").c_str(), 0600), 0);
  EXPECT_EQ(made("/fifo", false), "/fifo");
}

TEST_F(MountPoint, ARealDirectoryIsNoLink) {
  fs::create_symlink("/tmp", inside("proc"));
  EXPECT_THROW((void)make_real_directory(root_, "proc"), Failure);
  EXPECT_NO_THROW((void)make_real_directory(root_, "sys"));
}

TEST_F(MountPoint, ARealDirectoryThatCannotBeMadeIsToldOfByTheCallThatFailed) {
  const std::string name(NAME_MAX + 1, 'x');
  try {
    (void)make_real_directory(root_, name);
    FAIL() << "it was made";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.what(), "mkdir(/" + name + "): File name too long");
  }
}

}  // namespace
}  // namespace box
