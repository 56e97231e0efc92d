// Reads the bytes of a layer's tar from a file that may be compressed.
#pragma once

#include <nettle/sha2.h>
#include <sys/resource.h>
#include <sys/types.h>

#include <cstdint>
#include <exception>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/unique_fd.h"

struct archive;

namespace box {

struct FileDigest {
  std::string sha256;  // 64 hexadecimal digits
  std::uint64_t bytes = 0;
};

// What unpacking all layers of one start may use together. A few hundred kilobytes of gzip can
// expand to as many gigabytes, and libarchive keeps the metadata of an entry in memory.
struct UnpackLimits {
  std::uint64_t bytes = std::uint64_t{4} << 30;  // of the tars, decompressed
  std::uint64_t entries = 1'000'000;             // and directories that they need
  std::uint64_t attribute_bytes = 64 << 20;      // names and values of extended attributes
};

// Why libarchive has failed. It may have no message, for instance for a damaged gzip.
[[nodiscard]] std::string reason_of(archive* reader);

class LayerSource {
 public:
  // Reads the file `tar`, called `name` in messages, and subtracts the bytes that it returns from
  // `left`.
  LayerSource(const UniqueFd& tar, std::string name, UnpackLimits& left);
  ~LayerSource();
  LayerSource(const LayerSource&) = delete;
  LayerSource& operator=(const LayerSource&) = delete;

  // Whether the tar is empty, as in the layer of a command that did not change anything.
  [[nodiscard]] bool is_empty() const { return at_end_; }
  [[nodiscard]] bool is_at_end() const { return at_end_; }

  // The next bytes of the tar; 0 of them at the end. Throws Failure.
  std::size_t read(const void** part);

  // Whether from now on read() reads an entry's header, all of which libarchive keeps in memory.
  void begin_header();
  void end_header();

  // Reads the file to its end, and returns its size and digests.
  FileDigest finish();

  // A callback for libarchive, which is C: it must not throw. The failure is thrown later.
  static ssize_t read_part(archive* tar, void* source, const void** part);
  void rethrow_failure() const;

 private:
  // The memory that decompressing may take, with that of all else in this process: a few bytes of
  // an xz file can ask for a gigabyte.
  class MemoryLimit {
   public:
    MemoryLimit();
    ~MemoryLimit();
    MemoryLimit(const MemoryLimit&) = delete;
    MemoryLimit& operator=(const MemoryLimit&) = delete;

   private:
    rlimit before_ = {};
  };

  static ssize_t read_file_part(archive* raw, void* source, const void** part);
  ssize_t read_file(const void** part);         // as read(2)
  [[nodiscard]] std::string_view decompress();  // the next bytes, none at the end
  [[noreturn]] void fail();                     // with the reason of the decompression

  int fd_;
  std::string name_;
  UnpackLimits& left_;
  MemoryLimit memory_limit_;
  std::unique_ptr<archive, int (*)(archive*)> raw_;
  bool at_end_ = false;
  std::string_view in_front_;  // what libarchive reads before the file
  std::size_t skip_ = 0;       // how many bytes come of that
  std::string_view next_;      // bytes that are decompressed, and that read() has not returned
  std::uint64_t header_left_;
  std::exception_ptr failure_;
  sha256_ctx sha256_ = {};
  std::uint64_t file_bytes_ = 0;
  std::vector<std::uint8_t> buffer_;
};

}  // namespace box
