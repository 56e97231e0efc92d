#include "stages/08a_overlayfs/layer_source.h"

#include <archive.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "common/check.h"
#include "common/interrupt.h"
#include "common/printable.h"

namespace box {
namespace {

constexpr std::size_t kBuffer = 256UL * 1024;

// PAX attributes, long names and maps of sparse files of one entry.
constexpr std::uint64_t kMaxHeaderBytes = 4UL << 20;
constexpr std::uint64_t kNoHeader = std::numeric_limits<std::uint64_t>::max();

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
  archive_read_support_filter_bzip2(raw_.get());
  archive_read_support_filter_gzip(raw_.get());
  archive_read_support_filter_xz(raw_.get());
  archive_read_support_filter_zstd(raw_.get());
  // "raw" treats the decompressed bytes as one file; another reader parses the tar in it, so that
  // its bytes are counted on the way.
  archive_read_support_format_raw(raw_.get());
  archive_read_support_format_empty(raw_.get());
  archive_entry* entry = nullptr;
  int result = archive_read_open(raw_.get(), this, nullptr, read_file_part, nullptr);
  if (result == ARCHIVE_OK) result = archive_read_next_header(raw_.get(), &entry);
  at_end_ = result == ARCHIVE_EOF;
  if (result < ARCHIVE_WARN) throw Failure(name_ + ": " + reason_of(raw_.get()));
}

LayerSource::~LayerSource() = default;

std::size_t LayerSource::read(const void** part) {
  std::size_t size = 0;
  while (size == 0 && !at_end_) {
    throw_if_interrupted();
    la_int64_t offset = 0;
    const int result = archive_read_data_block(raw_.get(), part, &size, &offset);
    at_end_ = result == ARCHIVE_EOF;
    if (result < ARCHIVE_WARN) throw Failure(name_ + ": " + reason_of(raw_.get()));
  }
  if (at_end_) return 0;
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
  const auto size = static_cast<LayerSource*>(source)->read_file(part);
  if (size == -1) archive_set_error(raw, errno, "cannot be read: %s", strerror(errno));
  return size;
}

ssize_t LayerSource::read_part(archive* tar, void* source, const void** part) {
  auto& layer = *static_cast<LayerSource*>(source);
  try {
    return static_cast<ssize_t>(layer.read(part));
  } catch (const Failure& failure) {
    layer.failure_ = std::current_exception();
    archive_set_error(tar, failure.error(), "%s", failure.what());
    return -1;
  }
}

void LayerSource::rethrow_failure() const {
  if (failure_) std::rethrow_exception(failure_);
}

}  // namespace box
