#include "common/build_once.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "common/check.h"
#include "common/interrupt.h"
#include "common/remove_tree.h"
#include "common/unique_fd.h"

namespace box {
namespace {

namespace fs = std::filesystem;

class BuildOnce : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "/build_once.XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = fs::canonical(pattern);
    path_ = folder_ + "/built";
  }
  void TearDown() override { remove_tree(folder_); }

  [[nodiscard]] bool folder_is_empty() const { return fs::is_empty(folder_); }
  static void write_mark(const std::string& directory) {
    std::ofstream(directory + "/mark") << "x";
  }

  std::string folder_;
  std::string path_;
};

TEST_F(BuildOnce, BuildsOnlyTheFirstTime) {
  int calls = 0;
  for (int i = 0; i < 2; ++i) {
    build_once(path_, [&](const std::string& partial) {
      ++calls;
      write_mark(partial);
    });
  }
  EXPECT_EQ(calls, 1);
  EXPECT_TRUE(fs::exists(path_ + "/mark"));
}

TEST_F(BuildOnce, LeavesNothingWhenItFails) {
  EXPECT_THROW(build_once(path_,
                          [](const std::string& partial) {
                            write_mark(partial);
                            throw Failure("no space");
                          }),
               Failure);
  EXPECT_TRUE(folder_is_empty());
}

TEST_F(BuildOnce, LeavesNothingWhenItIsInterrupted) {
  try {
    build_once(path_, [](const std::string& partial) {
      write_mark(partial);
      raise(SIGINT);
    });
    FAIL() << "did not throw";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.exit_status(), 128 + SIGINT);
  }
  EXPECT_TRUE(folder_is_empty());
}

TEST_F(BuildOnce, RemovesWhatAKilledOneLeft) {
  fs::create_directory(path_ + ".partial");
  std::ofstream(path_ + ".partial/old") << "half";
  build_once(path_, write_mark);
  EXPECT_FALSE(fs::exists(path_ + "/old"));
  EXPECT_FALSE(fs::exists(path_ + ".partial"));
}

TEST_F(BuildOnce, TheSecondWaitsForTheFirst) {
  int order[2];
  ASSERT_EQ(pipe(order), 0);
  pid_t children[2];
  for (pid_t& child : children) {
    child = fork();
    if (child == 0) {
      build_once(path_, [&](const std::string& partial) {
        (void)!write(order[1], "b", 1);
        usleep(50'000);
        write_mark(partial);
      });
      _exit(fs::exists(path_ + "/mark") ? 0 : 1);
    }
  }
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_EQ(status, 0);
  }
  close(order[1]);
  char built[3];
  EXPECT_EQ(read(order[0], built, sizeof built), 1) << "both have built it";
  close(order[0]);
}

TEST_F(BuildOnce, NobodyElseCanHoldItsLock) {
  const UniqueFd above(open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  ASSERT_EQ(flock(above.get(), LOCK_EX), 0);  // as any user may who can open it
  alarm(10);
  build_once(path_, [](const std::string& partial) {
    EXPECT_EQ(fs::status(partial).permissions() & fs::perms(077), fs::perms::none);
  });
  alarm(0);
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms(0755));
}

TEST_F(BuildOnce, KeepsTheModeThatItIsGiven) {
  build_once(path_,
             [](const std::string& partial) { fs::permissions(partial, fs::perms::owner_all); });
  EXPECT_EQ(fs::status(path_).permissions(), fs::perms::owner_all);
}

TEST_F(BuildOnce, DoesNotBuildWhereOtherUsersCouldPutALink) {
  fs::permissions(folder_, fs::perms::all);
  EXPECT_THROW(build_once(path_, write_mark), Failure);
  EXPECT_TRUE(folder_is_empty());
  fs::permissions(folder_, fs::perms::all | fs::perms::sticky_bit);
  build_once(path_, write_mark);
  EXPECT_TRUE(fs::exists(path_ + "/mark"));
}

TEST_F(BuildOnce, RemovesAFolderThatCannotBeWritten) {
  fs::create_directories(path_ + "/locked/inner");
  fs::permissions(path_ + "/locked", fs::perms::owner_read | fs::perms::owner_exec);
  remove_tree(path_);
  EXPECT_FALSE(fs::exists(path_));
}

TEST_F(BuildOnce, DoesNotFollowLinksWhenRemoving) {
  fs::create_directory(folder_ + "/kept");
  write_mark(folder_ + "/kept");
  fs::create_directory(path_);
  fs::create_directory_symlink(folder_ + "/kept", path_ + "/link");
  remove_tree(path_);
  EXPECT_TRUE(fs::exists(folder_ + "/kept/mark"));
}

class CacheDirectory : public BuildOnce {
 protected:
  void SetUp() override {
    BuildOnce::SetUp();
    ASSERT_EQ(setenv("XDG_CACHE_HOME", folder_.c_str(), 1), 0);
  }
  void TearDown() override {
    unsetenv("XDG_CACHE_HOME");
    BuildOnce::TearDown();
  }
  [[nodiscard]] fs::perms mode() const {
    return fs::status(folder_ + "/containers-under-the-hood").permissions();
  }
};

TEST_F(CacheDirectory, IsPrivateWhateverTheUmask) {
  const mode_t before = umask(0);
  EXPECT_EQ(cache_directory(), folder_ + "/containers-under-the-hood");
  umask(before);
  EXPECT_EQ(mode(), fs::perms::owner_all);
}

TEST_F(CacheDirectory, IsMadePrivateIfItWasNot) {
  fs::create_directory(folder_ + "/containers-under-the-hood");
  fs::permissions(folder_ + "/containers-under-the-hood", fs::perms(0755));
  (void)cache_directory();
  EXPECT_EQ(mode(), fs::perms::owner_all);
}

TEST_F(CacheDirectory, IsNotUsedIfOthersMayHaveFilledIt) {
  fs::create_directory(folder_ + "/containers-under-the-hood");
  for (const auto perms : {0770, 0702}) {
    fs::permissions(folder_ + "/containers-under-the-hood", fs::perms(perms));
    EXPECT_THROW((void)cache_directory(), Failure);
    EXPECT_EQ(mode(), fs::perms(perms));
  }
}

TEST_F(CacheDirectory, IsNotALinkToElsewhere) {
  fs::create_directory(folder_ + "/elsewhere");
  fs::create_directory_symlink("elsewhere", folder_ + "/containers-under-the-hood");
  EXPECT_THROW(cache_directory(), Failure);
}

TEST_F(CacheDirectory, IsNotWhereOtherUsersCouldReplaceIt) {
  unsetenv("HOME");
  const std::string above = folder_ + "/above";
  ASSERT_EQ(setenv("XDG_CACHE_HOME", (above + "/new").c_str(), 1), 0);
  fs::create_directory(above);
  fs::permissions(above, fs::perms::all);
  const auto refused = [&] {
    try {
      return cache_directory() == "/var/cache/containers-under-the-hood";  // root's second choice
    } catch (const Failure& failure) {
      return std::string(failure.what()).find(above) != std::string::npos;
    }
  };
  EXPECT_TRUE(refused());
  EXPECT_TRUE(fs::is_empty(above));
  fs::permissions(above, fs::perms::all | fs::perms::sticky_bit);
  EXPECT_EQ(cache_directory(), above + "/new/containers-under-the-hood");
}

TEST_F(CacheDirectory, IsNamedWithoutLinks) {
  fs::create_directory(folder_ + "/real");
  fs::create_directory_symlink("real", folder_ + "/link");
  ASSERT_EQ(setenv("XDG_CACHE_HOME", (folder_ + "/link").c_str(), 1), 0);
  EXPECT_EQ(cache_directory(), folder_ + "/real/containers-under-the-hood");
}

TEST(Interrupt, LeavesIgnoredSignalsIgnored) {
  signal(SIGHUP, SIG_IGN);
  {
    const InterruptGuard guard;
    raise(SIGHUP);
    EXPECT_NO_THROW(throw_if_interrupted());
  }
  signal(SIGHUP, SIG_DFL);
}

}  // namespace
}  // namespace box
