#include "stages/05_userns/id_map.h"

#include <fmt/format.h>
#include <grp.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <sstream>
#include <string>
#include <utility>

#include "common/capability_sets.h"
#include "common/check.h"
#include "common/parse_number.h"
#include "common/read_file.h"
#include "common/run_program.h"
#include "common/write_file.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/05_userns/subordinate_ids.h"
#include "stages/05_userns/user_database.h"
#include "stages/05_userns/user_namespace_hint.h"

namespace box {
namespace {

std::vector<std::string_view> split_at_colons(std::string_view text) {
  std::vector<std::string_view> parts;
  while (true) {
    const auto colon = text.find(':');
    parts.push_back(text.substr(0, colon));
    if (colon == std::string_view::npos) return parts;
    text.remove_prefix(colon + 1);
  }
}

// The numbers in UID|NAME[:GID|GROUP] can be checked at once; names are looked up later, in the
// container.
void parse_user(const std::string& text, IdOptions& ids) {
  const auto parts = split_at_colons(text);
  if (parts.size() > 2 || (parts[0].empty() && parts.size() == 1) ||
      (parts.size() == 2 && parts[1].empty())) {
    throw Failure("is not UID|NAME[:GID|GROUP]");
  }
  for (const auto part : parts) {
    if (part.find_first_not_of("0123456789") == std::string_view::npos && !part.empty() &&
        !parse_id(part)) {
      throw Failure("there is no id " + std::string(part));
    }
  }
  ids.user_text = text;
  ids.user = parse_id(parts[0]).value_or(0);
  ids.group = parts.size() == 2 ? parse_id(parts[1]).value_or(0) : 0;
  ids.user_given = true;
}

// Whether the kernel accepts such a gid_map only after setgroups(2) has been denied, see
// write_id_maps(). /proc/self/setgroups cannot be read while there is no /proc.
bool setgroups_may_be_denied(const IdMap& gid_map) {
  return gid_map.size() == 1 && gid_map[0].count == 1;
}

bool overlap(std::uint64_t a, std::uint64_t b, const IdRange& x, const IdRange& y) {
  return a < b + y.count && b < a + x.count;
}

// The text of /proc/PID/uid_map: one line per range.
std::string lines_of(const IdMap& map) {
  std::string lines;
  for (const auto& [inside, outside, count] : map) {
    lines += fmt::format("{}{} {} {}", lines.empty() ? "" : "\n", inside, outside, count);
  }
  return lines;
}

// The one map that the kernel lets every user write: their own id, alone.
bool is_own_id(const IdMap& map, std::uint32_t own) {
  return map.size() == 1 && map[0].count == 1 && map[0].outside == own;
}

void run_map_helper(const std::string& helper, pid_t child, const IdMap& map) {
  std::vector<std::string> words = {helper, std::to_string(child)};
  for (const auto& [inside, outside, count] : map) {
    words.insert(words.end(),
                 {std::to_string(inside), std::to_string(outside), std::to_string(count)});
  }
  try {
    run_program(words);
  } catch (const Failure& failure) {
    if (failure.error() == ENOENT) {
      throw Failure(
          ENOENT, helper, kExitSetupFailed,
          "mapping more ids than your own needs " + helper + "(1): sudo apt-get install uidmap");
    }
    throw Failure(failure.what(), "/etc/subuid and /etc/subgid list the ids that you may map");
  }
}

constexpr uid_t kKeep = static_cast<uid_t>(-1);

void raise_capabilities() {
  CapabilitySets sets;
  check_quietly(get_capabilities(sets), "capget()");
  sets.effective = sets.permitted;
  check_quietly(set_capabilities(sets), "capset()");
}

// Our effective uid becomes `owner`; in all other respects we stay root.
void become_effectively(uid_t owner) {
  check(setresuid(kKeep, owner, kKeep), "setresuid(-1, {}, -1)", owner);
  // With the effective uid went the rights to files and the effective capabilities, by which the
  // child reaches the new root, and we the cgroup. setfsuid(2) returns the id before; it cannot
  // fail, except by a seccomp filter around us.
  check_quietly(setfsuid(0), "setfsuid(0)");
  raise_capabilities();
  // The child's files in /proc belong to root until it becomes root inside. The change of user has
  // done that already, unless the sysctl fs.suid_dumpable is 1, see PR_SET_DUMPABLE in prctl(2).
  check_quietly(prctl(PR_SET_DUMPABLE, 0), "prctl(PR_SET_DUMPABLE, 0)");
}

}  // namespace

IdRange parse_id_range(const std::string& text) {
  std::vector<std::uint32_t> numbers;
  for (const auto part : split_at_colons(text)) {
    // 2^32-1 is no id, it means "none", see setresuid(2).
    numbers.push_back(parse_number<std::uint32_t>(part).value_or(UINT32_MAX));
  }
  if (numbers.size() != 3 || numbers[2] == 0 ||
      std::count(numbers.begin(), numbers.end(), UINT32_MAX) > 0) {
    throw Failure("is not INSIDE:OUTSIDE:COUNT, as in 0:1000:1");
  }
  const IdRange range = {numbers[0], numbers[1], numbers[2]};
  if (std::uint64_t{range.inside} + range.count > kIds ||
      std::uint64_t{range.outside} + range.count > kIds) {
    throw Failure("goes beyond the last id, 4294967294");
  }
  return range;
}

void check_that_ranges_are_disjoint(const IdMap& map) {
  for (std::size_t i = 0; i < map.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (overlap(map[i].inside, map[j].inside, map[i], map[j]) ||
          overlap(map[i].outside, map[j].outside, map[i], map[j])) {
        throw Failure(fmt::format("{}:{}:{} overlaps {}:{}:{}", map[i].inside, map[i].outside,
                                  map[i].count, map[j].inside, map[j].outside, map[j].count));
      }
    }
  }
}

bool maps(const IdMap& map, std::uint32_t inside) {
  for (const IdRange& range : map) {
    if (inside >= range.inside && inside - range.inside < range.count) return true;
  }
  return false;
}

bool has_outside(const IdMap& map, std::uint32_t outside) {
  for (const IdRange& range : map) {
    if (outside >= range.outside && outside - range.outside < range.count) return true;
  }
  return false;
}

std::uint32_t builder(const IdMap& map) {
  return map.empty() || maps(map, 0) ? 0 : map.front().inside;
}

std::uint32_t outside_of(const IdMap& map, std::uint32_t inside) {
  for (const IdRange& range : map) {
    if (inside >= range.inside && inside - range.inside < range.count) {
      return range.outside + (inside - range.inside);
    }
  }
  throw Failure(fmt::format("id {} is not mapped", inside));
}

bool is_root_of_the_host() {
  if (geteuid() != 0) return false;
  // The initial user namespace maps every id to itself. Without /proc we assume that we are in it,
  // because then a range of ids is always possible.
  std::istringstream map(read_file_if_there("/proc/self/uid_map"));
  std::uint64_t inside = 0;
  std::uint64_t outside = 0;
  std::uint64_t count = kIds;
  map >> inside >> outside >> count;
  return inside == 0 && outside == 0 && count == kIds;
}

void IdOptions::choose_maps() {
  if (!is_root_of_the_host()) {
    if (uid_map.empty()) uid_map = {{.inside = 0, .outside = geteuid(), .count = 1}};
    if (gid_map.empty()) gid_map = {{.inside = 0, .outside = getegid(), .count = 1}};
    return;
  }
  // As with podman: if only one map is given, it is used for both.
  if (uid_map.empty()) uid_map = gid_map;
  if (gid_map.empty()) gid_map = uid_map;
  if (!uid_map.empty()) return;
  DefaultMaps maps = maps_for_root();
  uid_map = std::move(maps.uid_map);
  gid_map = std::move(maps.gid_map);
}

IdOptions::IdOptions(CommandLine& line) {
  const auto add_map = [&line](const std::string& name, IdMap& map, const std::string& help) {
    line.add_option(name, "IN:OUT:N", help, [&map](const std::string& text) {
      map.push_back(parse_id_range(text));
      check_that_ranges_are_disjoint(map);
    });
  };
  add_map("--uid-map", uid_map,
          "map N uids: IN inside is OUT outside, and so on (default: 0:YOUR-UID:1; for root, a"
          " range of its own)");
  add_map("--gid-map", gid_map, "map gids in the same way");
  line.add_option("-u,--user", "UID|NAME[:GID|GROUP]",
                  "run the command as this user (default:"
                  " 0:0)",
                  [this](const std::string& text) { parse_user(text, *this); });
  line.add_check([this] {
    choose_maps();
    if (user_given) check_that_user_is_mapped("--user");
  });
  line.add_hint(user_namespace_hint);
}

void IdOptions::check_that_user_is_mapped(const std::string& whose) const {
  if (uid_map.empty()) return;  // without a user namespace
  const auto refuse = [&](const std::string& kind, std::uint32_t id, const std::string& option) {
    throw Failure(fmt::format("{}: {} {} is not mapped", whose, kind, id),
                  fmt::format("map it: {} INSIDE:OUTSIDE:COUNT with {} in it", option, id));
  };
  if (!maps(uid_map, user)) refuse("uid", user, "--uid-map");
  if (!maps(gid_map, group)) refuse("gid", group, "--gid-map");
}

pid_t clone_for(const IdOptions& ids, std::uint64_t flags, int cgroup) {
  if (ids.clone) return ids.clone(flags, cgroup);
  if (ids.uid_map.empty()) return clone_process(flags, cgroup);  // without a user namespace
  const uid_t owner = outside_of(ids.uid_map, builder(ids.uid_map));
  if (geteuid() != 0 || owner == 0) return clone_process(flags, cgroup);
  // A change of user clears the signal that we get when our parent dies, see prctl(2).
  int death_signal = 0;
  check_quietly(prctl(PR_GET_PDEATHSIG, &death_signal), "prctl(PR_GET_PDEATHSIG)");
  try {
    become_effectively(owner);
  } catch (const Failure&) {
    (void)!setresuid(kKeep, 0, kKeep);  // otherwise we have no right to undo the start
    throw;
  }
  const pid_t child = clone_process(flags, cgroup);
  if (child == 0) return child;
  const int error = errno;
  check_quietly(setresuid(kKeep, 0, kKeep), "setresuid(-1, 0, -1)");
  check_quietly(prctl(PR_SET_PDEATHSIG, death_signal), "prctl(PR_SET_PDEATHSIG)");
  errno = error;
  return child;
}

Child start_child_in(std::uint64_t namespaces, const IdOptions& ids,
                     const std::function<void()>& body) {
  return {"clone3(" + names_of(namespaces) + ")", [&] { return clone_for(ids, namespaces); }, body};
}

void write_id_maps(pid_t child, const IdOptions& ids) {
  const std::string process = fmt::format("/proc/{}/", child);
  const bool root = geteuid() == 0;

  if (root || is_own_id(ids.uid_map, geteuid())) {
    write_file(process + "uid_map", lines_of(ids.uid_map));
  } else {
    run_map_helper("newuidmap", child, ids.uid_map);
  }

  if (root || is_own_id(ids.gid_map, getegid())) {
    // Group membership can take access away: mode 0604 lets every user read the file except members
    // of its group. A member who could drop the group in a user namespace would gain access. So the
    // kernel accepts gid_map from an ordinary user only after setgroups(2) has been denied for
    // good; and with one gid there are no groups to set.
    if (setgroups_may_be_denied(ids.gid_map)) {
      write_file(process + "setgroups", "deny");
    }
    write_file(process + "gid_map", lines_of(ids.gid_map));
  } else {
    run_map_helper("newgidmap", child, ids.gid_map);
  }
}

IdOptions find_user(const IdOptions& ids, ProcessOptions& process) {
  IdOptions found = ids;
  if (!ids.user_given) return found;
  const auto parts = split_at_colons(ids.user_text);
  const std::string user(parts[0]);
  const auto entry = find_passwd_entry(read_database("/etc/passwd"), user.empty() ? "0" : user);
  if (!entry && !user.empty() && !parse_id(user)) {
    throw Failure("--user " + ids.user_text + ": the container's /etc/passwd has no user " + user);
  }
  if (entry) found.user = entry->uid;
  process.environment.try_emplace("HOME", entry && !entry->home.empty() ? entry->home : "/");
  if (parts.size() == 2) {
    const std::string group(parts[1]);
    const auto gid =
        parse_id(group) ? parse_id(group) : find_group(read_database("/etc/group"), group);
    if (!gid) {
      throw Failure("--user " + ids.user_text + ": the container's /etc/group has no group " +
                    group);
    }
    found.group = *gid;
  } else if (entry) {
    found.group = entry->gid;
    found.groups = groups_of(read_database("/etc/group"), entry->name);
    std::erase_if(found.groups, [&](gid_t gid) { return !maps(found.gid_map, gid); });
  }
  found.check_that_user_is_mapped("--user " + ids.user_text);
  return found;
}

void become_root(const IdOptions& ids) {
  // Until the maps were written our uid was 65534, as which all unmapped ids are shown. Where
  // setgroups(2) is denied, the caller's groups stay, and are shown as 65534, too.
  const int dropped = setgroups(0, nullptr);
  if (dropped == -1 && !(errno == EPERM && setgroups_may_be_denied(ids.gid_map))) {
    check(-1, "setgroups(0)");
  }
  const gid_t gid = builder(ids.gid_map);
  const uid_t uid = builder(ids.uid_map);
  check(setresgid(gid, gid, gid), "setresgid({0}, {0}, {0})", gid);
  check(setresuid(uid, uid, uid), "setresuid({0}, {0}, {0})", uid);
}

void become_user(const IdOptions& ids) {
  if (!ids.user_given) return;
  // The uid last, because with it we lose the right to change the others.
  if (!ids.groups.empty() && !setgroups_may_be_denied(ids.gid_map)) {
    check(setgroups(ids.groups.size(), ids.groups.data()), "setgroups({})", ids.groups.size());
  }
  check(setresgid(ids.group, ids.group, ids.group), "setresgid({0}, {0}, {0})", ids.group);
  check(setresuid(ids.user, ids.user, ids.user), "setresuid({0}, {0}, {0})", ids.user);
}

}  // namespace box
