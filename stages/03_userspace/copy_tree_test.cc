#include "stages/03_userspace/copy_tree.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "common/failure.h"
#include "common/interrupt.h"

namespace box {
namespace {

namespace fs = std::filesystem;

// A host with /bin -> usr/bin, and a root for its files.
class CopyTree : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(top_);
    for (const char* folder : {"/host/usr/bin", "/host/etc/alternatives", "/root", "/outside"}) {
      fs::create_directories(top_ + folder);
    }
    write("/host/usr/bin/mawk", "mawk");
    fs::create_symlink("usr/bin", host_ + "/bin");
    fs::create_symlink(host_ + "/etc/alternatives/awk", host_ + "/usr/bin/awk");
    fs::create_symlink(host_ + "/usr/bin/mawk", host_ + "/etc/alternatives/awk");
  }

  void write(const std::string& path, const std::string& text) const {
    std::ofstream(top_ + path) << text;
  }
  static std::string read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string top_ = testing::TempDir() + "/copy_tree";
  std::string host_ = top_ + "/host";
  std::string root_ = top_ + "/root";
  std::string in_root_ = root_ + host_;  // the same path, in the root
};

TEST_F(CopyTree, RecreatesEachLinkOnTheWay) {
  Copier(root_).copy_with_links(host_ + "/bin/../bin/awk");
  EXPECT_EQ(fs::read_symlink(in_root_ + "/bin"), "usr/bin");
  EXPECT_EQ(fs::read_symlink(in_root_ + "/usr/bin/awk"), host_ + "/etc/alternatives/awk");
  EXPECT_EQ(fs::read_symlink(in_root_ + "/etc/alternatives/awk"), host_ + "/usr/bin/mawk");
  EXPECT_EQ(read(in_root_ + "/usr/bin/mawk"), "mawk");
}

TEST_F(CopyTree, GivesFoldersOnTheWayTheirMode) {
  fs::permissions(host_ + "/usr", fs::perms::owner_all | fs::perms::group_read);
  Copier(root_).copy_with_links(host_ + "/usr/bin/mawk");
  EXPECT_EQ(fs::status(in_root_ + "/usr").permissions(),
            fs::perms::owner_all | fs::perms::group_read);
}

TEST_F(CopyTree, NeverWritesOutsideOfTheRoot) {
  // Where the copy wants a folder, the root has a link to one outside: absolute, or by "..".
  for (const std::string& link :
       {top_ + "/outside", "../../../../../../../.." + top_ + "/outside"}) {
    SetUp();
    fs::create_directories(fs::path(in_root_).parent_path());
    fs::create_symlink(link, in_root_);
    EXPECT_THROW(Copier(root_).copy_with_links(host_ + "/usr/bin/mawk"), Failure);
    EXPECT_TRUE(fs::is_empty(top_ + "/outside"));
  }
  // The root has a link in place of the file: it is replaced, not written through.
  SetUp();
  write("/outside/victim", "precious");
  fs::create_directories(in_root_ + "/usr/bin");
  fs::create_symlink(top_ + "/outside/victim", in_root_ + "/usr/bin/mawk");
  Copier(root_).copy_with_links(host_ + "/usr/bin/mawk");
  EXPECT_EQ(read(top_ + "/outside/victim"), "precious");
  EXPECT_EQ(read(in_root_ + "/usr/bin/mawk"), "mawk");
  // A tree that is copied over such a link.
  SetUp();
  fs::create_directory_symlink(top_ + "/outside", root_ + "/usr");
  EXPECT_THROW(Copier(root_).copy_tree(host_ + "/usr", "usr"), Failure);
  EXPECT_TRUE(fs::is_empty(top_ + "/outside"));
}

TEST_F(CopyTree, FollowsTheRootsLinksWithinTheRoot) {
  // To the container, /outside/usr is a folder of its own.
  fs::create_directories(root_ + top_ + "/outside/usr");
  fs::create_directories(in_root_);
  fs::create_symlink(top_ + "/outside/usr", in_root_ + "/usr");
  Copier(root_).copy_with_links(host_ + "/usr/bin/mawk");
  EXPECT_EQ(read(root_ + top_ + "/outside/usr/bin/mawk"), "mawk");
  EXPECT_TRUE(fs::is_empty(top_ + "/outside"));
}

TEST_F(CopyTree, KeepsAFolderWhereTheHostHasALink) {
  fs::create_directories(in_root_ + "/bin");
  std::ofstream(in_root_ + "/bin/busybox") << "busybox";
  Copier(root_).copy_with_links(host_ + "/bin/mawk");
  EXPECT_EQ(read(in_root_ + "/bin/mawk"), "mawk");
  EXPECT_EQ(read(in_root_ + "/bin/busybox"), "busybox");
  EXPECT_FALSE(fs::is_symlink(in_root_ + "/bin"));
}

TEST_F(CopyTree, CopiesAFolderAtTheEndWhole) {
  fs::create_directory_symlink(host_ + "/usr", top_ + "/link");
  Copier(root_).copy_with_links(top_ + "/link");
  EXPECT_EQ(fs::read_symlink(root_ + top_ + "/link"), host_ + "/usr");
  EXPECT_EQ(read(in_root_ + "/usr/bin/mawk"), "mawk");
}

TEST_F(CopyTree, RefusesLoopsAndWhatIsNotThere) {
  fs::create_symlink(host_ + "/loop", host_ + "/loop");
  EXPECT_THROW(Copier(root_).copy_with_links(host_ + "/loop"), Failure);
  EXPECT_THROW(Copier(root_).copy_with_links(host_ + "/nothing"), Failure);
  EXPECT_THROW(Copier(root_).copy_with_links(host_ + "/usr/bin/mawk/more"), Failure);
}

TEST_F(CopyTree, IsNotCopiedIntoItself) {
  try {
    Copier(root_).copy_tree(top_, ".");
    FAIL() << "did not throw";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.what(), "cannot copy " + root_ + " into itself");
  }
}

TEST_F(CopyTree, StopsWhenInterrupted) {
  const InterruptGuard guard;
  for (int i = 0; i < 10; ++i) write("/host/usr/bin/" + std::to_string(i), "x");
  Copier copier(root_, [](const Copied& copied) {
    if (copied.files == 3) raise(SIGTERM);
  });
  try {
    copier.copy_tree(host_, ".");
    FAIL() << "did not throw";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.exit_status(), 128 + SIGTERM);
  }
  EXPECT_EQ(copier.copied().files, 3u);
}

}  // namespace
}  // namespace box
