#include "common/remove_tree.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"
#include "common/unique_fd.h"

namespace box {
namespace {

namespace fs = std::filesystem;

class RemoveTree : public testing::Test {
 protected:
  RemoveTree() {
    char name[] = "/tmp/remove-tree-XXXXXX";
    folder_ = mkdtemp(name);
    top_ = folder_ + "/top";
  }
  ~RemoveTree() override { fs::remove_all(folder_); }

  // top/d/d/d/...: `depth` of them, each with a file, the last folders of a path of any length.
  void make_deep(int depth) const {
    fs::create_directory(top_);
    UniqueFd here(open(top_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (int i = 0; i < depth; ++i) {
      ASSERT_EQ(mkdirat(here.get(), "d", 0700), 0);
      ASSERT_EQ(mknodat(here.get(), "f", S_IFREG | 0600, 0), 0);
      UniqueFd below(openat(here.get(), "d", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      here = std::move(below);
    }
  }

  [[nodiscard]] bool is_there(const std::string& path) const {
    struct stat st = {};
    return lstat(path.c_str(), &st) == 0;
  }

  std::string folder_;
  std::string top_;
};

TEST_F(RemoveTree, IsDeeperThanDescriptorsAndPathsReach) {
  make_deep(1500);
  rlimit before = {};
  getrlimit(RLIMIT_NOFILE, &before);
  const rlimit few = {16, before.rlim_max};
  setrlimit(RLIMIT_NOFILE, &few);
  EXPECT_NO_THROW(remove_tree(top_));
  setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_FALSE(is_there(top_));
}

TEST_F(RemoveTree, RemovesAFileAndALinkAndWhatIsNotThere) {
  std::ofstream(top_) << "text";
  remove_tree(top_);
  EXPECT_FALSE(is_there(top_));
  fs::create_directory(folder_ + "/kept");
  std::ofstream(folder_ + "/kept/file") << "text";
  fs::create_symlink("kept", top_);
  remove_tree(top_);
  EXPECT_FALSE(is_there(top_));
  EXPECT_TRUE(is_there(folder_ + "/kept/file"));
  EXPECT_NO_THROW(remove_tree(top_));
}

TEST_F(RemoveTree, DoesNotFollowLinks) {
  fs::create_directory(folder_ + "/kept");
  std::ofstream(folder_ + "/kept/file") << "text";
  fs::create_directories(top_ + "/a");
  fs::create_symlink("../../kept", top_ + "/a/link");
  remove_tree(top_);
  EXPECT_FALSE(is_there(top_));
  EXPECT_TRUE(is_there(folder_ + "/kept/file"));
}

TEST_F(RemoveTree, RemovesWhatIsClosedToOurselves) {
  fs::create_directories(top_ + "/a/b");
  std::ofstream(top_ + "/a/b/file") << "text";
  fs::permissions(top_ + "/a/b", fs::perms::owner_read);
  fs::permissions(top_ + "/a", fs::perms::none);
  remove_tree(top_);
  EXPECT_FALSE(is_there(top_));
}

TEST_F(RemoveTree, OfManyFoldersNoneIsLeft) {
  for (int i = 0; i < 300; ++i) fs::create_directories(top_ + "/" + std::to_string(i) + "/x");
  remove_tree(top_);
  EXPECT_FALSE(is_there(top_));
}

TEST_F(RemoveTree, FoldersAloneLeaveFiles) {
  fs::create_directories(top_ + "/a/b");
  remove_directories(top_);
  EXPECT_FALSE(is_there(top_));
  fs::create_directories(top_ + "/a/b");
  std::ofstream(top_ + "/a/file") << "text";
  EXPECT_THROW(remove_directories(top_), Failure);
  EXPECT_TRUE(is_there(top_ + "/a/file"));
}

TEST_F(RemoveTree, AnErrorIsShortHoweverDeepItIs) {
  make_deep(500);
  try {
    remove_directories(top_);  // the files are in its way
    FAIL() << "it should have failed";
  } catch (const Failure& failure) {
    EXPECT_LT(std::string(failure.what()).size(), 100U) << failure.what();
  }
  remove_tree(top_);
}

}  // namespace
}  // namespace box
