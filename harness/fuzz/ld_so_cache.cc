// Stage 03: /etc/ld.so.cache. Every piece of the input is looked up in it as a name, too.
#include "stages/03_userspace/ld_so_cache.h"

#include <algorithm>

#include "harness/fuzz/fuzz.h"

using box::fuzz::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const box::fuzz::MemoryFile file;
  static const box::Processor processor = {
      "x86_64", {"x86-64-v3", "x86-64-v2"}, {"tls/x86_64", "x86_64"}, 0x4};
  const std::string_view bytes = box::fuzz::text_of(data, size);
  file.set(bytes);
  const box::LdSoCache cache(file.path());
  const auto names = box::fuzz::split(bytes, '\0');
  for (std::size_t i = 0; i < std::min<std::size_t>(names.size(), 256); ++i) {
    const std::string path = cache.find(names[i], processor);
    require(path.empty() || bytes.find(path) != std::string_view::npos,
            "every path comes from within the file");
  }
  return 0;
}
