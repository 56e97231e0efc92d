#include "stages/05_userns/subordinate_ids.h"

#include <sstream>
#include <string_view>
#include <vector>

#include "common/parse_number.h"
#include "common/read_file.h"

namespace box {
namespace {

struct Grant {
  std::string owner;  // a name or a uid
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};

// The lines "owner:first:count". Other lines are skipped, as by newuidmap(1).
std::vector<Grant> read_grants(const std::string& text) {
  std::vector<Grant> grants;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const auto first = line.find(':');
    const auto second = first == std::string::npos ? first : line.find(':', first + 1);
    if (second == std::string::npos) continue;
    Grant grant;
    grant.owner = line.substr(0, first);
    const std::string_view numbers(line);
    grant.first =
        parse_number<std::uint64_t>(numbers.substr(first + 1, second - first - 1)).value_or(kIds);
    grant.count = parse_number<std::uint64_t>(numbers.substr(second + 1)).value_or(0);
    if (grant.count > 0 && grant.first < kIds && grant.count <= kIds - grant.first) {
      grants.push_back(grant);
    }
  }
  return grants;
}

}  // namespace

IdMap roots_subordinate_ids(const std::string& text) {
  IdMap map;
  std::uint64_t inside = 0;
  for (const Grant& grant : read_grants(text)) {
    if ((grant.owner != "root" && grant.owner != "0") || inside + grant.count > kIds) continue;
    map.push_back({static_cast<std::uint32_t>(inside), static_cast<std::uint32_t>(grant.first),
                   static_cast<std::uint32_t>(grant.count)});
    inside += grant.count;
  }
  return map;
}

IdMap ids_of_nobody_else(const std::string& text) {
  constexpr std::uint64_t kFirst = 524288;
  constexpr std::uint64_t kEnd = 1879048192;
  constexpr std::uint32_t kCount = 65536;
  const auto grants = read_grants(text);
  const auto is_free = [&](std::uint64_t first) {
    for (const Grant& grant : grants) {
      if (first < grant.first + grant.count && grant.first < first + kCount) return false;
    }
    return true;
  };
  for (std::uint64_t first = kFirst; first < kEnd; first += kCount) {
    if (is_free(first)) return {{0, static_cast<std::uint32_t>(first), kCount}};
  }
  throw Failure("/etc/subuid and /etc/subgid leave no ids for a container: users have all of them",
                "choose the ids with --uid-map and --gid-map");
}

DefaultMaps maps_for_root() {
  const std::string subuid = read_file_if_there("/etc/subuid");
  const std::string subgid = read_file_if_there("/etc/subgid");
  DefaultMaps maps = {roots_subordinate_ids(subuid), roots_subordinate_ids(subgid)};
  if (maps.uid_map.empty() || maps.gid_map.empty()) {
    const IdMap free = ids_of_nobody_else(subuid + "\n" + subgid);
    if (maps.uid_map.empty()) maps.uid_map = free;
    if (maps.gid_map.empty()) maps.gid_map = free;
  }
  return maps;
}

}  // namespace box
