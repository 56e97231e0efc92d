#include "stages/09_lsm/attributes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <string>

#include "common/failure.h"

namespace box {
namespace {

TEST(Attributes, OfAKernelThatHasNoneOfThatName) {
  EXPECT_EQ(open_attribute(open_proc(), "no-such-module/exec").get(), -1);
  EXPECT_EQ(errno, ENOENT);
}

// What an image may have at /proc: a file with the right name.
TEST(Attributes, OnlyOfTheKernel) {
  std::string folder = testing::TempDir() + "/proc-XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  std::filesystem::create_directories(folder + "/self/attr");
  std::ofstream(folder + "/self/attr/exec") << "";
  const UniqueFd proc(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  try {
    (void)open_attribute(proc, "exec");
    ADD_FAILURE() << "an ordinary file was taken for the kernel's";
  } catch (const Failure& failure) {
    EXPECT_STREQ(failure.what(), "/proc/self/attr/exec is not the kernel's");
  }
}

}  // namespace
}  // namespace box
