#include "stages/03_userspace/ld_so_cache.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

namespace box {
namespace {

Processor with_levels(std::vector<std::string> levels) {
  Processor processor;
  processor.levels = std::move(levels);
  return processor;
}

#if defined(__x86_64__)
constexpr bool kIsX8664 = true;
constexpr std::uint32_t kOurFlags = 0x0303;
#elif defined(__aarch64__)
constexpr bool kIsX8664 = false;
constexpr std::uint32_t kOurFlags = 0x0a03;
#else
constexpr bool kIsX8664 = false;
constexpr std::uint32_t kOurFlags = 0x0003;
#endif

// ldconfig(8) knows how to write a cache.
class Cache : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/cache";
    std::filesystem::remove_all(folder_);
    const std::string library = "/lib64/ld-linux-x86-64.so.2";
    if (!kIsX8664 || !std::filesystem::exists(library)) GTEST_SKIP() << "made for x86-64";
    for (const char* variant : {"", "glibc-hwcaps/x86-64-v2/", "glibc-hwcaps/x86-64-v4/"}) {
      std::filesystem::create_directories(folder_ + "/lib/" + variant);
      std::filesystem::copy_file(library, folder_ + "/lib/" + variant + "ld-linux-x86-64.so.2");
    }
    std::ofstream(folder_ + "/conf") << folder_ << "/lib\n";
    const std::string command =
        "/sbin/ldconfig -X -f " + folder_ + "/conf -C " + folder_ + "/cache";
    ASSERT_EQ(std::system(command.c_str()), 0);
  }

  std::string folder_;
};

TEST_F(Cache, PrefersTheBestVariant) {
  const LdSoCache cache(folder_ + "/cache");
  const std::string name = "ld-linux-x86-64.so.2";
  const std::string lib = folder_ + "/lib/";
  EXPECT_EQ(cache.find(name, with_levels({})), lib + name);
  EXPECT_EQ(cache.find(name, with_levels({"x86-64-v3"})), lib + name);
  EXPECT_EQ(cache.find(name, with_levels({"x86-64-v3", "x86-64-v2"})),
            lib + "glibc-hwcaps/x86-64-v2/" + name);
  EXPECT_EQ(cache.find(name, with_levels({"x86-64-v4", "x86-64-v3", "x86-64-v2"})),
            lib + "glibc-hwcaps/x86-64-v4/" + name);
  EXPECT_EQ(cache.find("libnone.so", with_levels({})), "");
}

TEST_F(Cache, SurvivesEveryTruncation) {
  std::ifstream file(folder_ + "/cache", std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  const std::string damaged = folder_ + "/damaged";
  for (std::size_t size = 0; size < bytes.size(); size += size < 600 ? 1 : 97) {
    std::ofstream(damaged, std::ios::binary) << bytes.substr(0, size);
    (void)LdSoCache(damaged).find("ld-linux-x86-64.so.2", with_levels({"x86-64-v2"}));
  }
  EXPECT_EQ(LdSoCache("/no/such/cache").find("libc.so.6", with_levels({})), "");
}

// A cache without variants, of libraries whose names are their paths. Its header says that it has
// `entries`.
std::string cache_of(const std::string& names, std::uint32_t entries) {
  const auto start = static_cast<std::uint32_t>(48 + 24 * names.size());
  std::string bytes = "glibc-ld.so.cache1.1";
  bytes.resize(start);
  std::memcpy(bytes.data() + 20, &entries, sizeof entries);
  for (std::uint32_t i = 0; i < names.size(); ++i) {
    const std::uint32_t name = start + 2 * i;
    std::memcpy(bytes.data() + 48 + std::size_t{24} * i, &kOurFlags, sizeof kOurFlags);
    std::memcpy(bytes.data() + 52 + std::size_t{24} * i, &name, sizeof name);
    std::memcpy(bytes.data() + 56 + std::size_t{24} * i, &name, sizeof name);
    bytes += names[i];
    bytes += '\0';
  }
  return bytes;
}

TEST(LdSoCacheOfAStranger, HasAllItsEntriesAndNotMore) {
  const std::string path = testing::TempDir() + "/counted";
  for (const std::uint32_t entries : {3U, 4294967295U}) {
    std::ofstream(path, std::ios::binary) << cache_of("abc", entries);
    const LdSoCache cache(path);
    for (const char* name : {"a", "b", "c"}) EXPECT_EQ(cache.find(name, with_levels({})), name);
    EXPECT_EQ(cache.find("d", with_levels({})), "");
  }
}

TEST(LdSoCacheOfAStranger, IsReadToTheEndOfItsEntries) {
  const std::string path = testing::TempDir() + "/empty";
  std::ofstream(path, std::ios::binary) << cache_of("", 4294967295U);
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_EQ(LdSoCache(path).find("a", with_levels({})), "");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
}

// Every entry but the first and the last has the same long path: a megabyte of file would become as
// many gigabytes.
TEST(LdSoCacheOfAStranger, DoesNotFillTheMemory) {
  constexpr std::uint32_t kEntries = 200;
  constexpr std::uint32_t kStart = 48 + 24 * kEntries;
  std::string bytes = "glibc-ld.so.cache1.1";
  bytes.resize(kStart);
  const auto put = [&bytes](std::size_t offset, std::uint32_t value) {
    std::memcpy(bytes.data() + offset, &value, sizeof value);
  };
  put(20, kEntries);
  for (std::uint32_t i = 0; i < kEntries; ++i) {
    const std::size_t entry = 48 + std::size_t{24} * i;
    const bool first = i == 0;
    const bool last = i == kEntries - 1;
    put(entry, kOurFlags);
    put(entry + 4, first ? kStart + 4 : last ? kStart + 2 : kStart);  // the name
    put(entry + 8, first || last ? kStart + 2 : kStart + 6);          // the path
  }
  bytes += std::string("a\0b\0c\0", 6) + std::string(50'000, 'x');
  const std::string path = testing::TempDir() + "/long";
  std::ofstream(path, std::ios::binary) << bytes;
  const LdSoCache cache(path);
  EXPECT_EQ(cache.find("a", with_levels({})).size(), 50'000);
  EXPECT_EQ(cache.find("b", with_levels({})), "");
  EXPECT_EQ(cache.find("c", with_levels({})), "b");
}

}  // namespace
}  // namespace box
