// Users and groups by name, see passwd(5) and group(5): those of the container, not of the host.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace box {

struct PasswdEntry {
  std::string name;
  uid_t uid = 0;
  gid_t gid = 0;
  std::string home;
};

// In the text of a passwd file: the first line whose user has the name, or else the number, `user`.
[[nodiscard]] std::optional<PasswdEntry> find_passwd_entry(std::string_view passwd,
                                                           const std::string& user);

// In the text of a group file: the number of the first group with this name.
[[nodiscard]] std::optional<gid_t> find_group(std::string_view group, const std::string& name);

// In the text of a group file: the groups that list the user `name` as a member.
[[nodiscard]] std::vector<gid_t> groups_of(std::string_view group, const std::string& name);

// Reads all of `text` as an id; 2^32-1 is none, see setresuid(2).
[[nodiscard]] std::optional<std::uint32_t> parse_id(std::string_view text);

// In the child, in its root: the text of the container's file, such as /etc/passwd; "" if it has
// none. The file is not trusted: links stay inside the root, and a FIFO or an endless file is
// refused.
[[nodiscard]] std::string read_database(const std::string& path);

}  // namespace box
