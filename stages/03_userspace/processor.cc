#include "stages/03_userspace/processor.h"

#include <sys/auxv.h>

#include <algorithm>
#include <charconv>

#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

namespace box {
namespace {

// See "glibc-hwcaps" in ld.so(8). Each level has all features of the levels below it.
struct Level {
  const char* name;
  std::vector<std::string> features;
};
const Level kLevels[] = {
    {"x86-64-v2", {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}},
    {"x86-64-v3", {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}},
    {"x86-64-v4", {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}},
};

// Up to glibc 2.36 an entry of /etc/ld.so.cache has a bit for each of these directories in its
// path. No man page lists them; see sysdeps/x86/dl-procinfo.c and elf/cache.c in glibc's source.
struct LegacyFolder {
  const char* name;
  int bit;
};
constexpr LegacyFolder kLegacyFolders[] = {
#if defined(__x86_64__)
    {"x86_64", 1}, {"avx512_1", 2}, {"haswell", 50}, {"xeon_phi", 51},
#elif defined(__i386__)
    {"sse2", 0},
    {"i586", 48},
    {"i686", 49},
#elif defined(__aarch64__)
    {"atomics", 8},
#endif
    {"tls", 63},
};

bool has_all(const std::set<std::string>& features, const std::vector<std::string>& wanted) {
  return std::all_of(wanted.begin(), wanted.end(),
                     [&](const auto& feature) { return features.contains(feature); });
}

// As init_cpu_features() does, in sysdeps/x86/cpu-features.c of glibc since 2.26.
std::string intel_platform(const std::set<std::string>& features) {
  if (has_all(features, {"avx512cd", "avx512er", "avx512pf"})) return "xeon_phi";
  if (has_all(features, {"avx2", "fma", "bmi1", "bmi2", "abm", "movbe", "popcnt"})) {
    return "haswell";
  }
  return "";
}

// All combinations of `names`: those with the first name come first, as _dl_important_hwcaps() of
// elf/dl-hwcaps.c makes them.
std::vector<std::string> combinations(const std::vector<std::string>& names) {
  std::vector<std::string> result;
  for (unsigned mask = (1U << names.size()) - 1; mask > 0; --mask) {
    std::string folder;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if ((mask >> (names.size() - 1 - i) & 1) == 0) continue;
      folder += (folder.empty() ? "" : "/") + names[i];
    }
    result.push_back(folder);
  }
  return result;
}

#if defined(__x86_64__)

struct CpuId {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
};

CpuId cpuid(unsigned leaf) {
  CpuId id;
  (void)__get_cpuid_count(leaf, 0, &id.eax, &id.ebx, &id.ecx, &id.edx);  // zeros without the leaf
  return id;
}

// Which registers the kernel saves when it preempts a process: a program cannot use those that it
// does not save, though the processor has them.
unsigned saved_registers() {
  constexpr unsigned kOsXsave = 1U << 27;
  if ((cpuid(1).ecx & kOsXsave) == 0) return 0;
  unsigned low = 0;
  unsigned high = 0;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

#endif

}  // namespace

#if defined(__x86_64__)

std::set<std::string> features_of_this_processor() {
  constexpr unsigned kAvx = 0x06;
  constexpr unsigned kAvx512 = 0xe6;
  const struct {
    const char* name;
    unsigned leaf;
    unsigned CpuId::*reg;
    int bit;
    unsigned registers;
  } kFlags[] = {
      {"ssse3", 1, &CpuId::ecx, 9, 0},
      {"fma", 1, &CpuId::ecx, 12, kAvx},
      {"cx16", 1, &CpuId::ecx, 13, 0},
      {"sse4_1", 1, &CpuId::ecx, 19, 0},
      {"sse4_2", 1, &CpuId::ecx, 20, 0},
      {"movbe", 1, &CpuId::ecx, 22, 0},
      {"popcnt", 1, &CpuId::ecx, 23, 0},
      {"xsave", 1, &CpuId::ecx, 26, kAvx},
      {"avx", 1, &CpuId::ecx, 28, kAvx},
      {"f16c", 1, &CpuId::ecx, 29, kAvx},
      {"bmi1", 7, &CpuId::ebx, 3, 0},
      {"avx2", 7, &CpuId::ebx, 5, kAvx},
      {"bmi2", 7, &CpuId::ebx, 8, 0},
      {"avx512f", 7, &CpuId::ebx, 16, kAvx512},
      {"avx512dq", 7, &CpuId::ebx, 17, kAvx512},
      {"avx512pf", 7, &CpuId::ebx, 26, kAvx512},
      {"avx512er", 7, &CpuId::ebx, 27, kAvx512},
      {"avx512cd", 7, &CpuId::ebx, 28, kAvx512},
      {"avx512bw", 7, &CpuId::ebx, 30, kAvx512},
      {"avx512vl", 7, &CpuId::ebx, 31, kAvx512},
      {"lahf_lm", 0x80000001, &CpuId::ecx, 0, 0},
      {"abm", 0x80000001, &CpuId::ecx, 5, 0},
  };
  std::set<std::string> features;
  const unsigned saved = saved_registers();
  for (const auto& flag : kFlags) {
    const bool has_it = (cpuid(flag.leaf).*flag.reg >> flag.bit & 1) != 0;
    if (has_it && (saved & flag.registers) == flag.registers) features.insert(flag.name);
  }
  if (cpuid(0).ebx == signature_INTEL_ebx) features.insert("intel");
  return features;
}

#else

std::set<std::string> features_of_this_processor() {
  std::set<std::string> features;
#if defined(__i386__)
  constexpr unsigned kSse2 = 1U << 26;
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (edx & kSse2) != 0) features.insert("sse2");
#elif defined(__aarch64__)
  if ((getauxval(AT_HWCAP) >> 8 & 1) != 0) features.insert("atomics");
#endif
  return features;
}

#endif

Processor processor_of(const std::string& platform, const std::set<std::string>& features) {
  Processor processor;
  processor.platform = platform;
  std::vector<std::string> legacy;
  if (platform == "x86_64") {
    for (const auto& level : kLevels) {
      if (!has_all(features, level.features)) break;
      processor.levels.insert(processor.levels.begin(), level.name);
    }
    const bool intel = features.contains("intel");
    if (intel && !intel_platform(features).empty()) processor.platform = intel_platform(features);
    const bool has_avx512_1 = intel && !features.contains("avx512er") &&
                              has_all(features, {"avx512cd", "avx512bw", "avx512dq", "avx512vl"});
    if (has_avx512_1) legacy.emplace_back("avx512_1");
    legacy.emplace_back("x86_64");
  } else {  // i386 has the first, arm64 the second
    for (const char* feature : {"sse2", "atomics"}) {
      if (features.contains(feature)) legacy.emplace_back(feature);
    }
  }
  if (!processor.platform.empty()) legacy.insert(legacy.begin(), processor.platform);
  legacy.insert(legacy.begin(), "tls");

  processor.legacy_folders = combinations(legacy);
  for (const auto& folder : kLegacyFolders) {
    if (std::find(legacy.begin(), legacy.end(), folder.name) == legacy.end()) continue;
    processor.legacy_bits |= std::uint64_t{1} << folder.bit;
  }
  return processor;
}

Processor this_processor(const std::string& loader) {
  const char* platform = reinterpret_cast<const char*>(getauxval(AT_PLATFORM));
  Processor processor =
      processor_of(platform == nullptr ? "" : platform, features_of_this_processor());

  constexpr std::string_view kVersion = "release version 2.";
  const auto at = loader.find(kVersion);
  if (at == std::string::npos) {
    processor.levels.clear();
    return processor;
  }
  int minor = 0;
  (void)std::from_chars(loader.data() + at + kVersion.size(), loader.data() + loader.size(), minor);
  if (minor >= 37) {
    processor.legacy_folders.clear();
    processor.legacy_bits = 0;
  }
  return processor;
}

}  // namespace box
