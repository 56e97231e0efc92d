#include "harness/fuzz/fuzz.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "common/check.h"
#include "common/printable.h"

namespace box::fuzz {
namespace {

// Whether a terminal takes it for one line, and for nothing else: without control characters, of
// ASCII or of Latin-1, that are not part of a character of UTF-8.
bool is_one_line(std::string_view text) {
  std::size_t expected = 0;  // bytes that belong to the character before
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < ' ' || byte == 0x7f) return false;
    if (expected > 0) {
      --expected;
    } else if (byte >= 0x80 && byte < 0xa0) {
      return false;
    } else if (byte >= 0xc0) {
      expected = byte >= 0xf0 ? 3 : byte >= 0xe0 ? 2 : 1;
    }
  }
  return expected == 0 && text.find("\xc2\x9b") == std::string_view::npos;
}

}  // namespace

std::string_view text_of(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

void require(bool holds, std::string_view promise) {
  if (holds) return;
  std::fprintf(stderr, "BROKEN PROMISE: %.*s\n", static_cast<int>(promise.size()), promise.data());
  std::abort();
}

void require_readable(const Failure& failure) {
  const std::string_view what = failure.what();
  require(!what.empty(), "a failure says what is wrong");
  // As warn() writes them.
  require(is_one_line(printable(what)), "a failure is one line of printable text");
  require(is_one_line(printable(failure.hint())), "a hint is one line of printable text");
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  while (true) {
    const auto at = text.find(separator);
    parts.emplace_back(text.substr(0, at));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

MemoryFile::MemoryFile()
    : fd_(check_quietly(memfd_create("input", MFD_CLOEXEC), "memfd_create()")),
      path_("/proc/self/fd/" + std::to_string(fd_.get())) {}

void MemoryFile::set(std::string_view content) const {
  check_quietly(ftruncate(fd_.get(), 0), "ftruncate()");
  const auto written =
      check_quietly(pwrite(fd_.get(), content.data(), content.size(), 0), "pwrite()");
  require(static_cast<std::size_t>(written) == content.size(), "a file in memory is written whole");
}

}  // namespace box::fuzz
