#include "common/write_file.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"
#include "common/unique_fd.h"

namespace box {
namespace {

TEST(WriteFile, WritesWhatItIsGiven) {
  const std::string path = testing::TempDir() + "/written";
  std::ofstream(path) << "";
  write_file(path, "0 1000 1");
  std::string text;
  std::getline(std::ifstream(path), text);
  EXPECT_EQ(text, "0 1000 1");
  std::filesystem::remove(path);
}

TEST(WriteFile, MakesNoFile) {
  const std::string path = testing::TempDir() + "/absent";
  EXPECT_THROW(write_file(path, "x"), Failure);
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(WriteFile, SaysWhatTheKernelRefused) {
  try {
    write_file("/proc/self/uid_map", "nonsense");
    FAIL() << "did not throw";
  } catch (const Failure& failure) {
    const std::string what = failure.what();
    EXPECT_EQ(what.rfind("write(/proc/self/uid_map, \"nonsense\"): ", 0), 0U) << what;
  }
}

// write(2) writes three bytes, and only the next one fails, as on a disk that is nearly full.
TEST(WriteAll, SaysThatItCouldNotWriteAllOfIt) {
  const UniqueFd file(memfd_create("nearly full", MFD_CLOEXEC));
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit three = {3, before.rlim_max};
  const auto usual = signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &three), 0);
  std::string what;
  try {
    write_all(file.get(), "text", "the file");
  } catch (const Failure& failure) {
    what = failure.what();
  }
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  signal(SIGXFSZ, usual);
  EXPECT_EQ(what, "write(the file): File too large");
}

}  // namespace
}  // namespace box
