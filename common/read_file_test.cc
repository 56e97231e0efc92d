#include "common/read_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <string>

#include "common/failure.h"
#include "common/unique_fd.h"

namespace box {
namespace {

TEST(ReadFile, ReadsAllOfIt) {
  const std::string text = read_file("/proc/self/status");
  EXPECT_EQ(text.rfind("Name:", 0), 0U);
  EXPECT_EQ(text.back(), '\n');
}

TEST(ReadFile, WhatIsNotThereIsEmpty) { EXPECT_EQ(read_file("/proc/self/no-such-file"), ""); }

TEST(ReadFile, WhatCannotBeReadIsNamedWithTheReason) {
  try {
    (void)read_file("/proc/self");  // a folder, as a file that the kernel fails to read
    FAIL() << "it should have failed";
  } catch (const Failure& failure) {
    EXPECT_STREQ(failure.what(), "read(/proc/self): Is a directory");
  }
}

TEST(ReadFile, OnlyWhatIsNotThereMayBeEmptyIfItDecides) {
  EXPECT_EQ(read_file_if_there("/proc/self/no-such-file"), "");
  EXPECT_EQ(read_file("/proc/self/status/file"), "");
  EXPECT_THROW((void)read_file_if_there("/proc/self/status/file"), Failure);
}

TEST(FileExists, SaysSoOrThrows) {
  EXPECT_TRUE(file_exists("/proc/self/status"));
  EXPECT_FALSE(file_exists("/proc/self/no-such-file"));
  EXPECT_FALSE(file_exists("/proc/self/status/file"));
  EXPECT_THROW((void)file_exists("/" + std::string(300, 'x')), Failure);
}

TEST(ReadFile, MayHaveALimit) {
  const UniqueFd zeros(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  const std::size_t size = read_to_end(zeros.get(), "/dev/zero", 5000).size();
  EXPECT_GT(size, 5000U);
  EXPECT_LT(size, 10000U);
}

}  // namespace
}  // namespace box
