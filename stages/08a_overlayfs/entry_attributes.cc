#include "stages/08a_overlayfs/entry_attributes.h"

#include <archive.h>
#include <archive_entry.h>
#include <fmt/format.h>

#include <cstring>
#include <string_view>

#include "common/failure.h"
#include "common/printable.h"

namespace box {
namespace {

// The kernel accepts 64 KiB for one attribute, and most file systems accept only that for all
// attributes of a file.
constexpr std::uint64_t kMaxAttributeBytes = 128UL * 1024;

std::uint32_t id_of(la_int64_t id, const char* kind, const std::string& where) {
  if (id >= 0 && id < la_int64_t{UINT32_MAX}) return static_cast<std::uint32_t>(id);
  // 2^32 would become 0, and 2^32-1 leaves a file unchanged, see chown(2): either way it would
  // belong to root.
  throw Failure(fmt::format("{}: its {} is {}, which is not a valid id", where, kind, id));
}

// A tar must not set attributes that overlayfs itself acts on; other namespaces of attributes have
// no meaning in a container.
bool is_wanted(std::string_view name) {
  return name == "security.capability" ||
         (name.starts_with("user.") && !name.starts_with("user.overlay."));
}

}  // namespace

Attributes attributes_of(archive_entry* entry, const std::string& where) {
  Attributes attributes = {};
  attributes.mode = archive_entry_perm(entry);
  attributes.uid = id_of(archive_entry_uid(entry), "uid", where);
  attributes.gid = id_of(archive_entry_gid(entry), "gid", where);
  for (timespec& time : attributes.times) {
    time = {archive_entry_mtime(entry), archive_entry_mtime_nsec(entry)};
  }
  return attributes;
}

ExtendedAttributes extended_attributes_of(archive_entry* entry, const std::string& where,
                                          std::uint64_t& bytes_left) {
  ExtendedAttributes attributes;
  std::uint64_t bytes = 0;
  archive_entry_xattr_reset(entry);
  const char* name = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  while (archive_entry_xattr_next(entry, &name, &value, &size) == ARCHIVE_OK) {
    bytes += strlen(name) + size;
    if (bytes > kMaxAttributeBytes) {
      throw Failure(fmt::format("{}: has more than {} KiB of extended attributes", where,
                                kMaxAttributeBytes / 1024));
    }
    if (is_wanted(name)) {
      attributes.emplace_back(name, std::string(static_cast<const char*>(value), size));
    }
  }
  if (bytes > bytes_left) {
    throw Failure(where + ": the layers have more extended attributes than are allowed");
  }
  bytes_left -= bytes;
  return attributes;
}

std::string shown(const std::string& path) {
  constexpr std::size_t kShown = 200;
  return printable(path.size() <= kShown ? path : path.substr(0, kShown) + "...");
}

}  // namespace box
