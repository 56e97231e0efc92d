// The owner, mode, times and extended attributes of an entry of a tar.
#pragma once

#include <sys/types.h>
#include <time.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

struct archive_entry;

namespace box {

struct Attributes {
  mode_t mode;
  uid_t uid;
  gid_t gid;
  timespec times[2];  // of the last access and modification, for utimensat(2)
};

using ExtendedAttributes = std::vector<std::pair<std::string, std::string>>;

// Throws Failure, which begins with `where`, for owners that are not valid ids.
[[nodiscard]] Attributes attributes_of(archive_entry* entry, const std::string& where);

// Returns those that are of use in a container. Subtracts their size from `bytes_left`; throws
// Failure if that is not enough, or if this entry has far more than a file can have.
[[nodiscard]] ExtendedAttributes extended_attributes_of(archive_entry* entry,
                                                        const std::string& where,
                                                        std::uint64_t& bytes_left);

// Shortens a name for a message, and makes it printable: it may contain escape sequences.
[[nodiscard]] std::string shown(const std::string& path);

}  // namespace box
