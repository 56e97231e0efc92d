// Which variants of a library the dynamic loader prefers on this processor.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

namespace box {

// What glibc's loader derives from the processor's features. musl's has no variants.
struct Processor {
  // What $PLATFORM stands for: "x86_64", but "haswell" on most Intel processors.
  std::string platform;
  // The directories below glibc-hwcaps/ that are searched, best first: "x86-64-v3", "x86-64-v2".
  std::vector<std::string> levels;
  // The directories below each library directory that are searched, up to glibc 2.36, best first:
  // "tls/haswell/x86_64", "tls/haswell", ..., "x86_64".
  std::vector<std::string> legacy_folders;
  // The same as bits in /etc/ld.so.cache, up to glibc 2.36: those that an entry may have.
  std::uint64_t legacy_bits = 0;
};

// `platform` is the kernel's AT_PLATFORM, see getauxval(3). `features` are named as the flags in
// /proc/cpuinfo; one more is "intel", the vendor.
[[nodiscard]] Processor processor_of(const std::string& platform,
                                     const std::set<std::string>& features);

// Those of the processor that we run on, as far as a loader asks for them.
[[nodiscard]] std::set<std::string> features_of_this_processor();

// The processor that we run on, for a loader whose file has this content. glibc's loader contains
// its version, as in "release version 2.36"; before 2.33 it does not, and has no levels; since 2.37
// it has no legacy directories.
[[nodiscard]] Processor this_processor(const std::string& loader);

}  // namespace box
