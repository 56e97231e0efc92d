#include "common/open_in_root.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"
#include "common/unique_fd.h"

namespace box {
namespace {

namespace fs = std::filesystem;

class OpenInRoot : public testing::Test {
 protected:
  OpenInRoot() {
    std::string folder = testing::TempDir() + "/XXXXXX";
    top_ = mkdtemp(folder.data());
    fs::create_directories(top_ / "root/etc");
    std::ofstream(top_ / "root/etc/file") << "inside";
    std::ofstream(top_ / "file") << "outside";
    root_ = UniqueFd(open((top_ / "root").c_str(), O_PATH | O_CLOEXEC));
  }
  ~OpenInRoot() override { fs::remove_all(top_); }

  [[nodiscard]] std::string read(const std::string& path, std::uint64_t resolve = 0) const {
    const UniqueFd file(open_in_root(root_.get(), path, O_RDONLY, resolve));
    char text[16] = {};
    if (file.get() == -1 || ::read(file.get(), text, sizeof text - 1) == -1) return "";
    return text;
  }

  fs::path top_;
  UniqueFd root_;
};

TEST_F(OpenInRoot, StaysInside) {
  fs::create_symlink("/etc/file", top_ / "root/absolute");
  fs::create_symlink("../../../etc/file", top_ / "root/relative");
  for (const char* path : {"/etc/file", "etc/file", "../../etc/file", "absolute", "relative"}) {
    EXPECT_EQ(read(path), "inside") << path;
  }
  EXPECT_EQ(read("../file"), "");
  EXPECT_EQ(read((top_ / "file").string()), "");
}

TEST_F(OpenInRoot, FollowsNoMagicLink) {
  const UniqueFd outside(open((top_ / "file").c_str(), O_RDONLY | O_CLOEXEC));
  const UniqueFd host(open("/", O_PATH | O_CLOEXEC));
  const std::string link = "/proc/self/fd/" + std::to_string(outside.get());
  EXPECT_EQ(open_in_root(host.get(), link, O_RDONLY), -1);
  EXPECT_EQ(errno, ELOOP);
}

TEST_F(OpenInRoot, TakesMoreRestrictions) {
  fs::create_symlink("file", top_ / "root/etc/link");
  EXPECT_EQ(read("etc/link"), "inside");
  constexpr std::uint64_t kNoSymlinks = 0x04;  // RESOLVE_NO_SYMLINKS
  EXPECT_EQ(read("etc/link", kNoSymlinks), "");
  EXPECT_EQ(read("etc/file", kNoSymlinks), "inside");
}

TEST_F(OpenInRoot, MakesDirectories) {
  fs::create_symlink("/etc", top_ / "root/own");
  const std::string path = "/own/a/../b/c/";
  const UniqueFd made = make_directories_in_root(root_.get(), path);
  EXPECT_TRUE(fs::is_directory(top_ / "root/etc/a"));
  const UniqueFd again = make_directories_in_root(root_.get(), path);
  for (const UniqueFd* fd : {&made, &again}) {
    EXPECT_TRUE(
        fs::equivalent("/proc/self/fd/" + std::to_string(fd->get()), top_ / "root/etc/b/c"));
  }
}

TEST_F(OpenInRoot, MakesNothingOutside) {
  fs::create_directory(top_ / "outside");
  const UniqueFd outside(open((top_ / "outside").c_str(), O_PATH | O_CLOEXEC));
  const std::string magic = "/proc/self/fd/" + std::to_string(outside.get());
  const UniqueFd host(open("/", O_PATH | O_CLOEXEC));
  EXPECT_THROW(make_directories_in_root(host.get(), magic + "/new"), Failure);

  fs::create_symlink(top_ / "outside", top_ / "root/link");
  for (const char* path : {"/link/new", "/etc/file/new"}) {
    EXPECT_THROW(make_directories_in_root(root_.get(), path), Failure) << path;
  }
  (void)make_directories_in_root(root_.get(), "../new");
  EXPECT_TRUE(fs::is_directory(top_ / "root/new"));
  EXPECT_FALSE(fs::exists(top_ / "new"));
  EXPECT_TRUE(fs::is_empty(top_ / "outside"));
}

}  // namespace
}  // namespace box
