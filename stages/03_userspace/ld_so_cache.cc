#include "stages/03_userspace/ld_so_cache.h"

#include <cstdint>
#include <cstring>
#include <optional>
#include <string_view>

#include "common/read_file.h"

namespace box {
namespace {

// The layout is that of glibc's sysdeps/generic/dl-cache.h; no man page describes it.
constexpr std::string_view kMagic = "glibc-ld.so.cache1.1";

struct Header {
  char magic[kMagic.size()];
  std::uint32_t entries;
  std::uint32_t strings_size;
  std::uint8_t flags;
  std::uint8_t padding[3];
  std::uint32_t extensions;  // offset in the file, 0 for none
  std::uint32_t unused[3];
};
static_assert(sizeof(Header) == 48);

struct RawEntry {
  std::int32_t flags;
  std::uint32_t name;  // offsets of strings in the file
  std::uint32_t path;
  std::uint32_t os_version;
  std::uint64_t hwcap;
};
static_assert(sizeof(RawEntry) == 24);

struct Extensions {
  std::uint32_t magic;
  std::uint32_t count;
};
constexpr std::uint32_t kExtensionsMagic = 0xeaa42174;

struct Extension {
  std::uint32_t tag;
  std::uint32_t flags;
  std::uint32_t offset;
  std::uint32_t size;
};
constexpr std::uint32_t kLevels = 1;  // the extension that lists the names below glibc-hwcaps/

// The value of `flags` that ldconfig writes for a library of this architecture: 3 is "for
// libc.so.6".
#if defined(__x86_64__) && defined(__LP64__)
constexpr std::int32_t kOurFlags = 0x0303;
#elif defined(__aarch64__)
constexpr std::int32_t kOurFlags = 0x0a03;
#elif defined(__riscv) && __riscv_xlen == 64
constexpr std::int32_t kOurFlags = 0x1003;
#else
constexpr std::int32_t kOurFlags = 0x0003;
#endif

// `hwcap` is 0 for an ordinary library. Bit 62 marks a variant below glibc-hwcaps/, whose index in
// the extension's list is in the low half. Any other value is a variant in a legacy directory.
constexpr std::uint64_t kIsVariant = std::uint64_t{1} << 62;
constexpr std::uint64_t kIndex = 0xffffffff;

constexpr std::size_t kMostLevels = 64;  // glibc has at most 3 for any machine
constexpr std::uint64_t kMostNames = 8;  // times as long as the file

template <typename Struct>
std::optional<Struct> struct_at(std::string_view bytes, std::uint64_t offset) {
  Struct result;
  if (offset > bytes.size() || bytes.size() - offset < sizeof result) return std::nullopt;
  std::memcpy(&result, bytes.data() + offset, sizeof result);
  return result;
}

std::string string_at(std::string_view bytes, std::uint64_t offset) {
  if (offset >= bytes.size()) return "";
  const std::string_view rest = bytes.substr(offset);
  return std::string(rest.substr(0, rest.find('\0')));
}

std::vector<std::string> read_levels(std::string_view bytes, std::uint32_t offset) {
  std::vector<std::string> names;
  const auto extensions = struct_at<Extensions>(bytes, offset);
  if (offset == 0 || !extensions || extensions->magic != kExtensionsMagic) return names;
  for (std::uint64_t i = 0; i < extensions->count; ++i) {
    const auto extension =
        struct_at<Extension>(bytes, offset + sizeof(Extensions) + i * sizeof(Extension));
    if (!extension) break;
    if (extension->tag != kLevels) continue;
    for (std::uint64_t at = 0; at < extension->size; at += sizeof(std::uint32_t)) {
      const auto name = struct_at<std::uint32_t>(bytes, extension->offset + at);
      if (!name || names.size() == kMostLevels) return names;
      names.push_back(string_at(bytes, *name));
    }
  }
  return names;
}

}  // namespace

LdSoCache::LdSoCache(const std::string& path) { read(read_file(path)); }

void LdSoCache::read(const std::string& bytes) {
  const auto header = struct_at<Header>(bytes, 0);
  if (!header || std::string_view(header->magic, kMagic.size()) != kMagic) return;
  const std::vector<std::string> levels = read_levels(bytes, header->extensions);
  // ldconfig(8) writes each name once, or as the end of a path, so all names together are hardly
  // longer than the file. A file that refers to more could fill our memory.
  std::uint64_t left = kMostNames * bytes.size();
  for (std::uint64_t i = 0; i < header->entries; ++i) {
    const auto raw = struct_at<RawEntry>(bytes, sizeof(Header) + i * sizeof(RawEntry));
    if (!raw) break;
    if (raw->flags != kOurFlags) continue;
    Entry entry{string_at(bytes, raw->path), "", 0};
    if ((raw->hwcap & kIsVariant) != 0) {
      const std::uint64_t index = raw->hwcap & kIndex;
      if (index >= levels.size()) continue;
      entry.level = levels[index];
    } else {
      entry.legacy = raw->hwcap;
    }
    std::string name = string_at(bytes, raw->name);
    const std::uint64_t size = name.size() + entry.path.size() + entry.level.size();
    if (size > left) break;
    left -= size;
    entries_[std::move(name)].push_back(std::move(entry));
  }
}

std::string LdSoCache::find(const std::string& name, const Processor& processor) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) return "";
  for (const auto& level : processor.levels) {
    for (const auto& entry : found->second) {
      if (entry.level == level) return entry.path;
    }
  }
  // ldconfig sorts them: the variants come before the ordinary file.
  for (const auto& entry : found->second) {
    if (entry.level.empty() && (entry.legacy & ~processor.legacy_bits) == 0) return entry.path;
  }
  return "";
}

}  // namespace box
