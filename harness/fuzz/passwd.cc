// Stage 05: the container's /etc/passwd, its /etc/group and a user's name, with a 0 between them.
#include "harness/fuzz/fuzz.h"
#include "stages/05_userns/user_database.h"

namespace {

using box::fuzz::require;

void check_id(const std::string& text) {
  const auto id = box::parse_id(text);
  if (!id) return;
  require(*id != UINT32_MAX, "2^32 - 1 is no id");
  require(box::parse_id(std::to_string(*id)) == id, "what is printed is what was read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto parts = box::fuzz::split(box::fuzz::text_of(data, size), '\0');
  parts.resize(3);
  const std::string &passwd = parts[0], &group = parts[1], &user = parts[2];
  if (const auto entry = box::find_passwd_entry(passwd, user)) {
    require(entry->name == user || entry->uid == box::parse_id(user),
            "a user is found by the name or by the number");
    require(("\n" + passwd).find("\n" + entry->name + ":") != std::string::npos,
            "a user's line begins with the name");
    require(passwd.find(":" + entry->home) != std::string::npos, "a home is in the file");
    require(entry->uid != UINT32_MAX && entry->gid != UINT32_MAX, "no user has the id -1");
  }
  if (const auto gid = box::find_group(group, user)) {
    require(("\n" + group).find("\n" + user + ":") != std::string::npos,
            "a group's line begins with its name");
    require(*gid != UINT32_MAX, "no group has the id -1");
  }
  for (const gid_t gid : box::groups_of(group, user)) {
    require(gid != UINT32_MAX && group.find(user) != std::string::npos,
            "a user's groups name the user");
  }
  check_id(user);
  return 0;
}
