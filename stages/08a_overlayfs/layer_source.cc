#include "stages/08a_overlayfs/layer_source.h"

#include <archive.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <sstream>
#include <string_view>
#include <utility>

#include "common/check.h"
#include "common/interrupt.h"
#include "common/printable.h"
#include "common/read_file.h"

namespace box {
namespace {

constexpr std::size_t kBuffer = 256UL * 1024;

// zstd's largest window is 128 MiB, xz -9 needs 64 MiB.
constexpr std::uint64_t kMostMemory = 256UL << 20;

// PAX attributes, long names and maps of sparse files of one entry.
constexpr std::uint64_t kMaxHeaderBytes = 4UL << 20;
constexpr std::uint64_t kNoHeader = std::numeric_limits<std::uint64_t>::max();

// A compression, the bytes by which files that have it begin, and a zero byte in that compression.
struct Compression {
  std::string_view magic;
  int (*add_filter)(archive*);
  std::string_view zero;
};

using namespace std::string_view_literals;

constexpr Compression kCompressions[] = {
    {"\x1f\x8b"sv, archive_read_support_filter_gzip,
     "\x1f\x8b\x08\0\0\0\0\0\x02\x03\x63\0\0\x8d\xef\x02\xd2\x01\0\0\0"sv},
    {"BZh"sv, archive_read_support_filter_bzip2,
     "BZh91AY&SY\xb1\xf7@K\0\0\0@\0@\0 \0!\x18\x46\x82\xeeH\xa7\x0a\x12\x16>\xe8\x09`"sv},
    {"\xfd\x37zXZ\0"sv, archive_read_support_filter_xz,
     "\xfd\x37zXZ\0\0\0\xff\x12\xd9\x41\x02\0!\x01\x16\0\0\0t/\xe5\xa3\x01\0\0\0\0\0\0\0\0\x01\x11"
     "\x01\xad\xa6X\x04\x06r\x9ez\x01\0\0\0\0\0YZ"sv},
    {"\x28\xb5\x2f\xfd"sv, archive_read_support_filter_zstd, "\x28\xb5\x2f\xfd\0X\x09\0\0\0"sv},
};

const Compression* compression_of(int file) {
  char start[6] = {};
  check_quietly(pread(file, start, sizeof start, 0), "pread()");
  for (const Compression& compression : kCompressions) {
    if (std::string_view(start, sizeof start).starts_with(compression.magic)) return &compression;
  }
  return nullptr;
}

}  // namespace

std::string reason_of(archive* reader) {
  const char* reason = archive_error_string(reader);
  return printable(reason != nullptr ? reason : "cannot be read");
}

LayerSource::LayerSource(const UniqueFd& tar, std::string name, UnpackLimits& left)
    : fd_(tar.get()),
      name_(std::move(name)),
      left_(left),
      raw_(archive_read_new(), archive_read_free),
      header_left_(kNoHeader),
      buffer_(kBuffer) {
  if (raw_ == nullptr) throw Failure(ENOMEM, "archive_read_new()");
  nettle_sha256_init(&sha256_);
  // libarchive would also undo a compression in a compression and so on: with three of them, in
  // half a megabyte, it would be busy for days before it returned a byte, and no signal would end
  // it. So it sees one zero byte before the file, which looks like no compression.
  if (const Compression* compression = compression_of(fd_); compression != nullptr) {
    (void)compression->add_filter(raw_.get());
    in_front_ = compression->zero;
    skip_ = 1;
  }
  // "raw" treats the decompressed bytes as one file; another reader parses the tar in it, so that
  // its bytes are counted on the way.
  archive_read_support_format_raw(raw_.get());
  archive_read_support_format_empty(raw_.get());
  archive_entry* entry = nullptr;
  int result = archive_read_open(raw_.get(), this, nullptr, read_file_part, nullptr);
  if (result == ARCHIVE_OK) result = archive_read_next_header(raw_.get(), &entry);
  at_end_ = result == ARCHIVE_EOF;
  if (result < ARCHIVE_WARN) fail();
  next_ = decompress();
}

LayerSource::~LayerSource() = default;

LayerSource::MemoryLimit::MemoryLimit() {
  check_quietly(getrlimit(RLIMIT_DATA, &before_), "getrlimit(RLIMIT_DATA)");
  // In pages: the sixth number of /proc/self/statm is what this limit counts, see proc(5).
  std::uint64_t pages = 0;
  std::istringstream numbers(box::read_file("/proc/self/statm"));
  for (int i = 0; i < 6; ++i) numbers >> pages;
  rlimit limit = before_;
  limit.rlim_cur = std::min<rlim_t>(
      before_.rlim_cur, pages * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)) + kMostMemory);
  check_quietly(setrlimit(RLIMIT_DATA, &limit), "setrlimit(RLIMIT_DATA)");
}

LayerSource::MemoryLimit::~MemoryLimit() { (void)setrlimit(RLIMIT_DATA, &before_); }

void LayerSource::fail() {
  rethrow_failure();
  if (archive_errno(raw_.get()) == ENOMEM) {
    throw Failure(fmt::format("{}: decompressing it takes more than {} MiB of memory", name_,
                              kMostMemory >> 20));
  }
  throw Failure(name_ + ": " + reason_of(raw_.get()));
}

std::string_view LayerSource::decompress() {
  std::size_t size = 0;
  const void* part = nullptr;
  while (size == 0 && !at_end_) {
    throw_if_interrupted();
    la_int64_t offset = 0;
    const int result = archive_read_data_block(raw_.get(), &part, &size, &offset);
    at_end_ = result == ARCHIVE_EOF;
    if (result < ARCHIVE_WARN) fail();
    const std::size_t skipped = std::exchange(skip_, size == 0 ? skip_ : 0);
    if (size > 0) {
      part = static_cast<const char*>(part) + skipped;
      size -= skipped;
    }
  }
  return {static_cast<const char*>(part), at_end_ ? 0 : size};
}

std::size_t LayerSource::read(const void** part) {
  if (next_.empty()) next_ = decompress();
  const std::size_t size = next_.size();
  if (size == 0) return 0;
  *part = std::exchange(next_, {}).data();
  if (size > left_.bytes) {
    throw Failure(name_ + ": the layers unpack to more than --unpack-limit allows",
                  "raise it with --unpack-limit SIZE");
  }
  left_.bytes -= size;
  if (size > header_left_) {
    throw Failure(fmt::format("{}: an entry has more than {} MiB of attributes and names", name_,
                              kMaxHeaderBytes >> 20));
  }
  if (header_left_ != kNoHeader) header_left_ -= size;
  return size;
}

void LayerSource::begin_header() { header_left_ = kMaxHeaderBytes; }

void LayerSource::end_header() { header_left_ = kNoHeader; }

ssize_t LayerSource::read_file(const void** part) {
  const ssize_t size = TEMP_FAILURE_RETRY(::read(fd_, buffer_.data(), buffer_.size()));
  if (size > 0) {
    nettle_sha256_update(&sha256_, static_cast<std::size_t>(size), buffer_.data());
    file_bytes_ += static_cast<std::uint64_t>(size);
  }
  *part = buffer_.data();
  return size;
}

FileDigest LayerSource::finish() {
  const void* part = nullptr;
  while (check_quietly(read_file(&part), "read({})", name_) > 0) throw_if_interrupted();
  std::array<std::uint8_t, SHA256_DIGEST_SIZE> digest = {};
  nettle_sha256_digest(&sha256_, digest.size(), digest.data());
  return {fmt::format("{:02x}", fmt::join(digest, "")), file_bytes_};
}

ssize_t LayerSource::read_file_part(archive* raw, void* source, const void** part) {
  auto& layer = *static_cast<LayerSource*>(source);
  try {
    throw_if_interrupted();  // of much of a file nothing may come out
    if (const std::string_view front = std::exchange(layer.in_front_, {}); !front.empty()) {
      *part = front.data();
      return static_cast<ssize_t>(front.size());
    }
    const auto size = layer.read_file(part);
    if (size == -1) archive_set_error(raw, errno, "cannot be read: %s", strerror(errno));
    return size;
  } catch (const Failure&) {
    layer.failure_ = std::current_exception();
    return -1;
  }
}

ssize_t LayerSource::read_part(archive*, void* source, const void** part) {
  auto& layer = *static_cast<LayerSource*>(source);
  try {
    return static_cast<ssize_t>(layer.read(part));
  } catch (const Failure&) {
    layer.failure_ = std::current_exception();
    return -1;
  }
}

void LayerSource::rethrow_failure() const {
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace box
