// /etc/ld.so.cache: where ldconfig(8) has seen each library.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "stages/03_userspace/processor.h"

namespace box {

class LdSoCache {
 public:
  // Reads the file at `path`. One that is not there, cut off or in the format of before glibc 2.2
  // is an empty cache, as it is for the loader.
  explicit LdSoCache(const std::string& path);

  // Returns the path of the library `name`, of the variant that is best for `processor`, or "".
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
