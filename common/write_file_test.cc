#include "common/write_file.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"

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

}  // namespace
}  // namespace box
