// /etc/ld.so.cache: where ldconfig(8) has seen each library.
#pragma once

#include <string>
#include <unordered_map>
#include <vector>

namespace box {

class LdSoCache {
 public:
  // Reads the file at `path`. One that is not there, cut off or in the format of before glibc 2.2
  // is an empty cache, as it is for the loader.
  explicit LdSoCache(const std::string& path);

  // Answers where the library `name` is, or "". `cpu_levels` are the names of the variants that
  // this processor can run, best first: see libraries.cc.
  [[nodiscard]] std::string find(const std::string& name,
                                 const std::vector<std::string>& cpu_levels) const;

 private:
  struct Entry {
    std::string path;
    std::string cpu_level;  // of a variant below glibc-hwcaps/; "" for the ordinary file
  };
  void read(const std::string& bytes);

  std::unordered_map<std::string, std::vector<Entry>> entries_;
};

}  // namespace box
