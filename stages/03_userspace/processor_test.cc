#include "stages/03_userspace/processor.h"

#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace box {
namespace {

using Names = std::vector<std::string>;

const std::set<std::string> kNehalem = {"ssse3", "cx16", "sse4_1", "sse4_2", "popcnt", "lahf_lm"};

std::set<std::string> operator+(std::set<std::string> features, const std::set<std::string>& more) {
  features.insert(more.begin(), more.end());
  return features;
}

const std::set<std::string> kHaswell =
    kNehalem +
    std::set<std::string>{"fma", "movbe", "xsave", "avx", "f16c", "bmi1", "avx2", "bmi2", "abm"};
const std::set<std::string> kSkylakeServer =
    kHaswell + std::set<std::string>{"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"};
const std::set<std::string> kKnightsLanding =
    kHaswell + std::set<std::string>{"avx512f", "avx512cd", "avx512er", "avx512pf"};
const std::set<std::string> kIntel = {"intel"};

// What `ld.so --help` of Debian 12 prints for these processors (`qemu-x86_64 -cpu Haswell`): the
// levels, and the legacy folders, of which the one marked AT_PLATFORM comes first.
TEST(Processor, IsWhatTheLoaderTakesItFor) {
  const struct {
    const char* name;
    std::set<std::string> features;
    std::string platform;
    Names levels;
    std::string best_legacy_folder;
    std::size_t legacy_folders;
  } kProcessors[] = {
      {"an old AMD", {}, "x86_64", {}, "tls/x86_64/x86_64", 7},
      {"AMD", kHaswell, "x86_64", {"x86-64-v3", "x86-64-v2"}, "tls/x86_64/x86_64", 7},
      {"AMD with AVX-512",
       kSkylakeServer,
       "x86_64",
       {"x86-64-v4", "x86-64-v3", "x86-64-v2"},
       "tls/x86_64/x86_64",
       7},
      {"Nehalem", kNehalem + kIntel, "x86_64", {"x86-64-v2"}, "tls/x86_64/x86_64", 7},
      {"Haswell",
       kHaswell + kIntel,
       "haswell",
       {"x86-64-v3", "x86-64-v2"},
       "tls/haswell/x86_64",
       7},
      {"Skylake-Server",
       kSkylakeServer + kIntel,
       "haswell",
       {"x86-64-v4", "x86-64-v3", "x86-64-v2"},
       "tls/haswell/avx512_1/x86_64",
       15},
      {"Knights Landing",
       kKnightsLanding + kIntel,
       "xeon_phi",
       {"x86-64-v3", "x86-64-v2"},
       "tls/xeon_phi/x86_64",
       7},
  };
  for (const auto& expected : kProcessors) {
    const Processor processor = processor_of("x86_64", expected.features);
    EXPECT_EQ(processor.platform, expected.platform) << expected.name;
    EXPECT_EQ(processor.levels, expected.levels) << expected.name;
    ASSERT_EQ(processor.legacy_folders.size(), expected.legacy_folders) << expected.name;
    EXPECT_EQ(processor.legacy_folders.front(), expected.best_legacy_folder) << expected.name;
    EXPECT_EQ(processor.legacy_folders.back(), "x86_64") << expected.name;
  }
}

// The order is that of `LD_DEBUG=libs` with glibc 2.36.
TEST(Processor, SearchesLegacyFoldersFromTheMostSpecificOn) {
  EXPECT_EQ(processor_of("x86_64", kHaswell + kIntel).legacy_folders,
            (Names{"tls/haswell/x86_64", "tls/haswell", "tls/x86_64", "tls", "haswell/x86_64",
                   "haswell", "x86_64"}));
  EXPECT_EQ(processor_of("i686", {"sse2"}).legacy_folders,
            (Names{"tls/i686/sse2", "tls/i686", "tls/sse2", "tls", "i686/sse2", "i686", "sse2"}));
  EXPECT_EQ(processor_of("aarch64", {"atomics"}).legacy_folders,
            (Names{"tls/aarch64/atomics", "tls/aarch64", "tls/atomics", "tls", "aarch64/atomics",
                   "aarch64", "atomics"}));
}

#if defined(__x86_64__)
TEST(Processor, AllowsTheBitsOfItsLegacyFolders) {
  const auto bit = [](int number) { return std::uint64_t{1} << number; };
  EXPECT_EQ(processor_of("x86_64", kHaswell).legacy_bits, bit(63) | bit(1));
  EXPECT_EQ(processor_of("x86_64", kHaswell + kIntel).legacy_bits, bit(63) | bit(50) | bit(1));
  EXPECT_EQ(processor_of("x86_64", kSkylakeServer + kIntel).legacy_bits,
            bit(63) | bit(50) | bit(2) | bit(1));
  EXPECT_EQ(processor_of("x86_64", kKnightsLanding + kIntel).legacy_bits,
            bit(63) | bit(51) | bit(1));
}

// What the kernel read from the processor, too; it leaves out those whose registers it does not
// save, see arch/x86/kernel/cpu/cpuid-deps.c.
TEST(Processor, HasTheFeaturesThatTheKernelSees) {
  std::ifstream cpuinfo("/proc/cpuinfo");
  std::string line;
  while (std::getline(cpuinfo, line) && !line.starts_with("flags")) continue;
  std::istringstream words(line.substr(line.find(':') + 1));
  const std::set<std::string> flags{std::istream_iterator<std::string>(words), {}};
  ASSERT_TRUE(flags.contains("fpu"));
  const std::set<std::string> features = features_of_this_processor();
  for (const auto& name : kSkylakeServer + kKnightsLanding + kNehalem) {
    EXPECT_EQ(features.contains(name), flags.contains(name)) << name;
  }
}
#endif

TEST(Processor, DependsOnTheLoadersVersion) {
  const Processor bullseye = this_processor("");
  const Processor bookworm = this_processor("GLIBC 2.36-9) stable release version 2.36.\n");
  const Processor trixie = this_processor("GLIBC 2.41-12) stable release version 2.41.\n");
  EXPECT_EQ(bullseye.levels, Names{});
  EXPECT_EQ(bullseye.legacy_folders, bookworm.legacy_folders);
  EXPECT_NE(bookworm.legacy_folders, Names{});
  EXPECT_EQ(trixie.levels, bookworm.levels);
  EXPECT_EQ(trixie.legacy_folders, Names{});
  EXPECT_EQ(trixie.legacy_bits, 0U);
  EXPECT_EQ(trixie.platform, bookworm.platform);
}

}  // namespace
}  // namespace box
