#include "stages/11_oci/state.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <regex>

#include "common/json_node.h"

namespace box {
namespace {

namespace fs = std::filesystem;

class StateTest : public testing::Test {
 protected:
  StateTest() : root_(testing::TempDir() + "/state-" + std::to_string(getpid())) {}
  ~StateTest() override { fs::remove_all(root_); }

  const std::string root_;
};

std::string failure_of(const std::function<void()>& call) {
  try {
    call();
    return "";
  } catch (const Failure& failure) {
    return failure.what();
  }
}

TEST_F(StateTest, IsReadAsItWasWritten) {
  StateFolder folder = StateFolder::make(root_, "c");
  ContainerState state;
  state.id = "c";
  state.version = "1.0.2";
  state.bundle = "/bundle";
  state.pid = getpid();
  state.began = start_time_of(getpid());
  state.built = true;
  state.annotations = {{"a", "b"}};
  folder.write(state);
  const ContainerState read = StateFolder::open(root_, "c").read();
  EXPECT_EQ("/bundle", read.bundle);
  EXPECT_EQ(state.annotations, read.annotations);
  EXPECT_TRUE(is_alive(read));
  EXPECT_EQ("running", status_of(folder, read));
  struct stat st = {};
  ASSERT_EQ(0, stat((root_ + "/c").c_str(), &st));
  EXPECT_EQ(0700U, st.st_mode & 07777U);
}

TEST_F(StateTest, AnotherProcessWithTheNumberIsNotTheContainers) {
  ContainerState state;
  state.pid = getpid();
  state.began = start_time_of(getpid()) + 1;
  EXPECT_FALSE(is_alive(state));
  EXPECT_EQ("container not running", failure_of([&] { (void)open_init(state); }));
}

TEST_F(StateTest, IdsThatWouldLeadElsewhere) {
  for (const std::string id : {"", ".", "..", "../x", "a/b", "a b", "a\n", "\xc3\xa9"}) {
    EXPECT_NE("", failure_of([&] { check_id(id); })) << id;
  }
  EXPECT_NE("", failure_of([] { check_id(std::string(256, 'x')); }));
  for (const auto* call : {"make", "open"}) {
    const auto failure = failure_of([&] {
      (void)(call == std::string("make") ? StateFolder::make(root_, "../x")
                                         : StateFolder::open(root_, "../x"));
    });
    EXPECT_EQ(0U, failure.find("invalid container id '../x'")) << call << ": " << failure;
  }
  for (const std::string id : {"a", "A_1+b-c.d", "..."}) {
    EXPECT_EQ("", failure_of([&] { check_id(id); })) << id;
  }
}

TEST_F(StateTest, ATimeIsWrittenAsRfc3339HasIt) {
  const std::string text = time_as_text();
  EXPECT_TRUE(std::regex_match(text, std::regex(R"(20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z)")))
      << text;
}

TEST_F(StateTest, AnIdIsTakenOnce) {
  const StateFolder folder = StateFolder::make(root_, "c");
  EXPECT_EQ("container with given ID already exists: c",
            failure_of([&] { (void)StateFolder::make(root_, "c"); }));
  EXPECT_EQ("container d does not exist", failure_of([&] { (void)StateFolder::open(root_, "d"); }));
  EXPECT_EQ(std::vector<std::string>{"c"}, StateFolder::ids_in(root_));
}

TEST_F(StateTest, ALinkIsNoFolder) {
  (void)StateFolder::make(root_, "c");
  fs::create_directory_symlink(root_ + "/c", root_ + "/link");
  EXPECT_NE("", failure_of([&] { (void)StateFolder::open(root_, "link"); }));
}

TEST_F(StateTest, AFileIsNoStateFolder) {
  std::ofstream(root_) << "text";
  const std::string message = "open(" + root_ + "): Not a directory";
  EXPECT_EQ(message, failure_of([&] { (void)StateFolder::ids_in(root_); }));
  EXPECT_EQ(message, failure_of([&] { (void)StateFolder::open(root_, "c"); }));
  EXPECT_EQ(message, failure_of([&] { (void)StateFolder::make(root_, "c"); }));
  fs::remove(root_);
  EXPECT_EQ(std::vector<std::string>{}, StateFolder::ids_in(root_));
  (void)StateFolder::make(root_, "c");
  std::ofstream(root_ + "/file") << "text";
  EXPECT_EQ("open(" + root_ + "/file): Not a directory",
            failure_of([&] { (void)StateFolder::open(root_, "file"); }));
}

TEST_F(StateTest, FoldersThatOthersMayWriteTo) {
  (void)StateFolder::make(root_, "c");
  ASSERT_EQ(0, chmod((root_ + "/c").c_str(), 0777));
  EXPECT_NE(std::string::npos,
            failure_of([&] { (void)StateFolder::open(root_, "c"); }).find("other users may write"));
  ASSERT_EQ(0, chmod(root_.c_str(), 0777));
  EXPECT_NE(std::string::npos,
            failure_of([&] { (void)StateFolder::make(root_, "d"); }).find("other users may write"));
}

TEST_F(StateTest, TheLockShowsThatItIsBeingBuilt) {
  StateFolder folder = StateFolder::make(root_, "c");
  const StateFolder other = StateFolder::open(root_, "c");
  EXPECT_EQ("stopped", status_of(other, other.read())) << "its maker was killed";
  folder.lock();
  EXPECT_EQ("creating", status_of(other, other.read()));
}

TEST_F(StateTest, WhatIsRemovedCannotBeLocked) {
  StateFolder folder = StateFolder::make(root_, "c");
  StateFolder other = StateFolder::open(root_, "c");
  folder.remove();
  EXPECT_EQ("container c does not exist", failure_of([&] { other.lock(); }));
}

}  // namespace
}  // namespace box
