// /etc/ld.so.cache, in which ldconfig(8) lists the path of each library.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "stages/03_userspace/processor.h"

namespace box {

class LdSoCache {
 public:
  // Reads the file at `path`. If it is missing, cut off or in the format from before glibc 2.2, the
  // cache is empty, as it is for the loader.
  explicit LdSoCache(const std::string& path);

  // Returns the path of the library `name`, in the variant that is best for `processor`, or "".
  [[nodiscard]] std::string find(const std::string& name, const Processor& processor) const;

 private:
  struct Entry {
    std::string path;
    std::string level;     // of a variant below glibc-hwcaps/; "" for the ordinary file
    std::uint64_t legacy;  // of a variant as before glibc 2.37: the bits that it needs; 0 for none
  };
  void read(const std::string& bytes);

  std::unordered_map<std::string, std::vector<Entry>> entries_;
};

}  // namespace box
