#include "stages/07_cgroups/hierarchy.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

namespace fs = std::filesystem;

constexpr const char* kUnified =
    "25 1 0:22 / /proc rw,nosuid shared:5 - proc proc rw\n"
    "30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";

TEST(ParseHierarchy, FindsOurOwnCgroup) {
  const auto found = parse_hierarchy(kUnified, "0::/user.slice/user-1000.slice/session-2.scope\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->mount_point, "/sys/fs/cgroup");
  EXPECT_EQ(found->own, "/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope");
  EXPECT_TRUE(found->nsdelegate);
}

TEST(ParseHierarchy, FindsTheRoot) {
  const auto found = parse_hierarchy(kUnified, "0::/\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->own, "/sys/fs/cgroup");
}

TEST(ParseHierarchy, FindsTheUnifiedPartOfAHybridHost) {
  const auto found = parse_hierarchy(
      "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
      "41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
      "1:cpu:/\n0::/app\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->own, "/sys/fs/cgroup/unified/app");
  EXPECT_FALSE(found->nsdelegate);
}

TEST(ParseHierarchy, TakesTheMountThatShowsOurCgroup) {
  const auto found = parse_hierarchy(
      "40 1 0:26 /other /mnt/a rw - cgroup2 cgroup2 rw\n"
      "41 1 0:26 /app /mnt/b rw - cgroup2 cgroup2 rw\n",
      "0::/app/one\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->mount_point, "/mnt/b");
  EXPECT_EQ(found->own, "/mnt/b/one");
}

// In mountinfo the kernel writes a space as "\\040"; in /proc/self/cgroup it does not.
TEST(ParseHierarchy, DecodesTheNamesOfFolders) {
  const auto found = parse_hierarchy(
      "40 1 0:26 /my\\040app /mnt/a\\040b\\134c rw - cgroup2 cgroup2 rw\n", "0::/my app/one\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->mount_point, "/mnt/a b\\c");
  EXPECT_EQ(found->own, "/mnt/a b\\c/one");
}

TEST(ParseHierarchy, TakesOtherWhiteSpaceForPartOfAName) {
  const auto found =
      parse_hierarchy("40 1 0:26 / /mnt/a\r\f\vb rw - cgroup2 cgroup2 rw\n", "0::/one\n");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->mount_point, "/mnt/a\r\f\vb");
}

TEST(ParseHierarchy, FindsNothingWhereNothingIs) {
  EXPECT_FALSE(parse_hierarchy("32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n",
                               "1:cpu:/\n0::/\n"));
  EXPECT_FALSE(parse_hierarchy(kUnified, "1:cpu:/\n"));
  // A cgroup outside of our cgroup namespace, and a mount of one.
  EXPECT_FALSE(parse_hierarchy(kUnified, "0::/../other\n"));
  EXPECT_FALSE(
      parse_hierarchy("30 23 0:26 /.. /sys/fs/cgroup ro - cgroup2 cgroup2 rw\n", "0::/\n"));
}

// Directories and files that look like a hierarchy, in which we are /slice/session.
class ParentCgroup : public testing::Test {
 protected:
  void SetUp() override {
    top_ = testing::TempDir() + "hierarchy";
    fs::remove_all(top_);
    add("", "cpu memory", "cpu memory", "1\n");
    fs::remove(top_ + "/cgroup.type");  // which only the root has not
    add("/slice", "cpu memory", "memory", "");
    add("/slice/session", "memory", "", "4711\n");
    hierarchy_ = {.mount_point = top_, .own = top_ + "/slice/session", .nsdelegate = true};
  }

  void add(const std::string& cgroup, const std::string& controllers,
           const std::string& subtree_control, const std::string& processes) {
    fs::create_directories(top_ + cgroup);
    write(cgroup + "/cgroup.controllers", controllers);
    write(cgroup + "/cgroup.subtree_control", subtree_control);
    write(cgroup + "/cgroup.procs", processes);
    write(cgroup + "/cgroup.type", "domain\n");
  }

  void write(const std::string& path, const std::string& text) {
    std::ofstream(top_ + path) << text;
  }

  std::string find(const std::vector<std::string>& controllers) {
    return find_parent_cgroup(hierarchy_, controllers).substr(top_.size());
  }

  std::string top_;
  Hierarchy hierarchy_;
};

TEST_F(ParentCgroup, IsOurOwnIfNoControllerIsNeeded) { EXPECT_EQ(find({}), "/slice/session"); }

TEST_F(ParentCgroup, IsTheNextAboveThatHasNoProcesses) {
  EXPECT_EQ(find({"memory"}), "/slice");
  EXPECT_EQ(find({"cpu", "memory"}), "/slice");  // cpu can be enabled for children
}

TEST_F(ParentCgroup, HandsControllersOnAlreadyAndSoMayHaveProcesses) {
  write("/slice/session/cgroup.subtree_control", "memory");
  EXPECT_EQ(find({"memory"}), "/slice/session");
}

TEST_F(ParentCgroup, IsTheRootWhereNothingElseIsLeft) {
  write("/slice/cgroup.procs", "4712\n");
  EXPECT_EQ(find({"cpu"}), "");
}

std::string refusal_of(const std::function<void()>& attempt) {
  try {
    attempt();
  } catch (const Failure& failure) {
    return failure.what();
  }
  return "";
}

TEST_F(ParentCgroup, IsRefusedWithTheReason) {
  EXPECT_EQ(refusal_of([&] { (void)find({"rdma"}); }), "there is no rdma controller in " + top_);

  write("/cgroup.type", "domain\n");  // as in a container: the root that we see is not the real one
  write("/cgroup.subtree_control", "");
  write("/slice/cgroup.procs", "4712\n");
  EXPECT_EQ(refusal_of([&] {
              (void)find({"memory", "cpu"});
            }),
            "the cpu controller is not enabled for " + top_ + "/slice/session");
  write("/slice/session/cgroup.controllers", "cpu memory");
  EXPECT_EQ(refusal_of([&] {
              (void)find({"memory", "cpu"});
            }),
            "a cgroup that has processes cannot enable controllers for its children: " + top_ +
                "/slice/session");
}

}  // namespace
}  // namespace box
