// Stage 08a: a layer, as the bytes of a tar file, through to the tree that is unpacked.
//
// Each header of a tar has a checksum, which no mutation would get right: here it is put right.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <numeric>

#include "harness/fuzz/layer_room.h"

namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kChecksum = 148;  // where it is, and how long: see tar(5)
constexpr std::size_t kChecksumSize = 8;
constexpr std::size_t kMagic = 257;

std::string with_checksums(std::string tar) {
  for (std::size_t at = 0; at + kBlock <= tar.size(); at += kBlock) {
    char* block = tar.data() + at;
    if (std::memcmp(block + kMagic, "ustar", 5) != 0) continue;
    std::memset(block + kChecksum, ' ', kChecksumSize);
    const unsigned sum = std::accumulate(block, block + kBlock, 0U, [](unsigned all, char c) {
      return all + static_cast<unsigned char>(c);
    });
    std::snprintf(block + kChecksum, kChecksumSize, "%06o", sum);
  }
  return tar;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static box::fuzz::LayerRoom room;
  room.unpack(with_checksums(std::string(box::fuzz::text_of(data, size))));
  return 0;
}
