// Whose an entry of a tar is, and what else it has beside its content.
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

// Throws Failure, which begins with `where`, for owners that nobody can be.
[[nodiscard]] Attributes attributes_of(archive_entry* entry, const std::string& where);

// Those that a container can make use of. Takes their size from `bytes_left`; throws Failure if
// that is not enough, or if this entry has far more than a file can have.
[[nodiscard]] ExtendedAttributes extended_attributes_of(archive_entry* entry,
                                                        const std::string& where,
                                                        std::uint64_t& bytes_left);

// A name in a message: it may be long, and have escape sequences in it.
[[nodiscard]] std::string shown(const std::string& path);

}  // namespace box
