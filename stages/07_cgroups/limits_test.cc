#include "stages/07_cgroups/limits.h"

#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

TEST(ParseCpus, IsAShareOfEachPeriod) {
  EXPECT_EQ(parse_cpus("0.5", 2), "50000 100000");
  EXPECT_EQ(parse_cpus(".2", 2), "20000 100000");
  EXPECT_EQ(parse_cpus("1.5", 2), "150000 100000");
  EXPECT_EQ(parse_cpus("2", 2), "200000 100000");
  EXPECT_EQ(parse_cpus("0.01", 2), "1000 100000");
  EXPECT_EQ(parse_cpus("0.29", 2), "29000 100000");  // 0.29 * 100000 is 28999.99...
}

TEST(ParseCpus, RefusesWhatNoMachineCanGive) {
  for (const char* text :
       {"", "0", "-1", "1e9", "abc", "2.01", "0.001", "nan", "inf", "1 ", "0,5"}) {
    EXPECT_THROW((void)parse_cpus(text, 2), Failure) << text;
  }
}

TEST(ParseMemory, KnowsDockersUnits) {
  EXPECT_EQ(parse_memory("2097152"), "2097152");
  EXPECT_EQ(parse_memory("2097152b"), "2097152");
  EXPECT_EQ(parse_memory("2048k"), "2097152");
  EXPECT_EQ(parse_memory("64m"), "67108864");
  EXPECT_EQ(parse_memory("64M"), "67108864");
  EXPECT_EQ(parse_memory("1g"), "1073741824");
  EXPECT_EQ(parse_memory("1.5g"), "1610612736");
  EXPECT_EQ(parse_memory("0.5G"), "536870912");
  for (const char* text : {"64mb", "64MB", "64MiB", "64Mi", "64 m", "64 MiB", "65536kib"}) {
    EXPECT_EQ(parse_memory(text), "67108864") << text;
  }
  EXPECT_EQ(parse_size("1t"), std::uint64_t{1} << 40);
  EXPECT_EQ(parse_size("2p"), std::uint64_t{2} << 50);
}

TEST(ParseMemory, RefusesWhatIsNoSize) {
  for (const char* text : {"",
                           "m",
                           ".",
                           ".m",
                           "-1m",
                           "1.m",
                           "1.2.3m",
                           "64mib b",
                           "64bb",
                           "64ib",
                           "64  m",
                           "64m ",
                           " 64m",
                           "1e9",
                           "0x40000000",
                           "64z",
                           "67108864z",  // as bytes, it would be enough for a container
                           "infg",
                           "nan",
                           "0",
                           "3k",
                           "9223372036854775808",
                           "8589934592g",
                           "8p99",
                           "99999999999999999999"}) {
    EXPECT_THROW((void)parse_memory(text), Failure) << text;
  }
  EXPECT_EQ(parse_memory("8589934591g"), "9223372035781033984");
}

TEST(ParsePids, IsANumberFromOne) {
  EXPECT_EQ(parse_pids("1"), "1");
  EXPECT_EQ(parse_pids("4194304"), "4194304");
  for (const char* text : {"", "0", "-1", "1.0", "many", "4194305", "99999999999999999999"}) {
    EXPECT_THROW((void)parse_pids(text), Failure) << text;
  }
}

// A disk of this machine: "254:0". "" if it has none.
std::string some_disk() {
  for (const auto& entry : std::filesystem::directory_iterator("/sys/dev/block")) {
    if (!std::filesystem::exists(entry.path() / "partition")) return entry.path().filename();
  }
  return "";
}

TEST(ParseIoMax, NamesADisk) {
  const std::string disk = some_disk();
  if (disk.empty()) GTEST_SKIP() << "this machine has no disk";
  EXPECT_EQ(parse_io_max(disk + ":wbps=1m"), disk + " wbps=1048576");
  EXPECT_EQ(parse_io_max(disk + ":rbps=2k,riops=100"), disk + " rbps=2048 riops=100");
  for (const char* limit : {"", "wbps", "wbps=", "wbps=0", "wbps=x", "speed=1", "riops=1k",
                            "riops=0", "wbps=1m,", "riops=4294967296"}) {
    EXPECT_THROW((void)parse_io_max(disk + ":" + limit), Failure) << limit;
  }
}

TEST(ParseIoMax, RefusesWhatIsNoDiskOfThisMachine) {
  for (const char* text : {"", ":wbps=1", "wbps=1", "/dev/no-such-disk:wbps=1", "/dev/null:wbps=1",
                           "/etc/passwd:wbps=1", "4095:1:wbps=1"}) {
    EXPECT_THROW((void)parse_io_max(text), Failure) << text;
  }
}

TEST(ParseIoMax, SaysWhetherTheFormOrTheDiskIsWrong) {
  const auto names_the_form = [](const char* text) {
    try {
      (void)parse_io_max(text);
    } catch (const Failure& failure) {
      return std::string(failure.what()).find("DEVICE:KEY=VALUE") != std::string::npos;
    }
    return false;
  };
  for (const char* text : {"", "wbps=1", ":wbps=1"}) EXPECT_TRUE(names_the_form(text)) << text;
  for (const char* text : {"x:wbps=1", "/x:wbps=1"}) EXPECT_FALSE(names_the_form(text)) << text;
}

}  // namespace
}  // namespace box
