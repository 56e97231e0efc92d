#include "stages/08a_overlayfs/image_user.h"

#include <algorithm>
#include <string>

#include "common/check.h"
#include "stages/05_userns/user_database.h"

namespace box {

IdOptions find_user(const LayerOptions& options, const IdOptions& ids, ProcessOptions& process) {
  constexpr const char* kHint = "-u UID[:GID] chooses another";
  IdOptions found = ids;
  if (!options.image || options.image->user.empty() || ids.user_given) {
    return find_user(ids, process);
  }
  const std::string& text = options.image->user;
  const auto colon = text.find(':');
  const std::string user =
      colon == 0 ? "0" : text.substr(0, colon);  // ":50" is root with the group 50
  const std::string group = colon == std::string::npos ? "" : text.substr(colon + 1);

  const auto number = parse_id(user);
  const auto entry = find_passwd_entry(read_database("/etc/passwd"), user);
  if (!entry && !number) {
    throw Failure("the image's user " + user + " is not in its /etc/passwd", kHint);
  }
  found.user = entry ? entry->uid : *number;
  found.group = entry ? entry->gid : 0;
  if (entry && !entry->home.empty()) process.environment.try_emplace("HOME", entry->home);
  const auto group_number = parse_id(group);
  const std::string groups = read_database("/etc/group");
  if (!group.empty()) {
    const auto gid = group_number ? group_number : find_group(groups, group);
    if (!gid) throw Failure("the image's group " + group + " is not in its /etc/group", kHint);
    found.group = *gid;
  } else if (entry) {
    found.groups = groups_of(groups, entry->name);
    std::erase_if(found.groups, [&](gid_t gid) { return !maps(found.gid_map, gid); });
  }
  found.user_given = true;
  found.check_that_user_is_mapped("the image's user " + text);
  return found;
}

}  // namespace box
