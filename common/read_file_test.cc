#include "common/read_file.h"

#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"

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

}  // namespace
}  // namespace box
