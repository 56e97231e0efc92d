// Stage 05: a user namespace, and which ids inside are which ids outside, see user_namespaces(7).
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "stages/01_exec/process.h"
#include "stages/05_userns/handshake.h"
#include "stages/05_userns/id_range.h"
#include "stages/05_userns/keyring.h"  // IWYU pragma: export

namespace box {

// Reads "INSIDE:OUTSIDE:COUNT". Throws Failure.
[[nodiscard]] IdRange parse_id_range(const std::string& text);

// Throws Failure if two ranges share an id on either side, as the kernel would with EINVAL.
void check_that_ranges_are_disjoint(const IdMap& map);

[[nodiscard]] bool maps(const IdMap& map, std::uint32_t inside);
// Whether this id of the host is mapped.
[[nodiscard]] bool has_outside(const IdMap& map, std::uint32_t outside);

// As which id inside the child builds the container: 0, or the map's first one if it has no 0.
[[nodiscard]] std::uint32_t builder(const IdMap& map);
[[nodiscard]] std::uint32_t outside_of(const IdMap& map, std::uint32_t inside);

// Whether we are root in the initial user namespace, whose ids are the host's.
[[nodiscard]] bool is_root_of_the_host();

// --uid-map, --gid-map and -u/--user
struct IdOptions {
  IdOptions() = default;
  explicit IdOptions(CommandLine& line);

  // Throws Failure, which names `whose` the user is.
  void check_that_user_is_mapped(const std::string& whose) const;

  IdMap uid_map;
  IdMap gid_map;
  std::string user_text;  // --user, as given: UID or NAME, and perhaps :GID or :GROUP
  uid_t user = 0;
  gid_t group = 0;
  std::vector<gid_t> groups;  // beside `group`
  bool user_given = false;
  // In place of clone_process(): for a child in a user namespace that is there already, see stage
  // 11. Empty: none.
  std::function<pid_t(std::uint64_t flags, int cgroup)> clone;

 private:
  void choose_maps();
};

// In the parent: clone_process(), but a new user namespace belongs to the user who is root inside,
// although root makes it. What is limited per user (inotify instances, namespaces, pending signals;
// see namespaces(7) on /proc/sys/user) is also charged, for everything in the namespace, to the
// user to whom it belongs: otherwise a container could use up the limits of the host's root.
// Without maps there is no user namespace, and this is clone_process() alone.
[[nodiscard]] pid_t clone_for(const IdOptions& ids, std::uint64_t flags, int cgroup = 0);

// start_child_in(), by clone_for().
[[nodiscard]] Child start_child_in(std::uint64_t namespaces, const IdOptions& ids,
                                   const std::function<void()>& body);

// In the parent, while the child waits: gives the child's user namespace its ids. Every user may
// map their own id; unless we are root, ranges are written by newuidmap(1) and newgidmap(1), which
// check them against /etc/subuid and /etc/subgid.
void write_id_maps(pid_t child, const IdOptions& ids);

// In the child, with the maps written and the root changed: becomes uid and gid 0 of the namespace,
// to build the container. Not earlier, because a root whose 0 is 100000 outside cannot traverse its
// caller's private home to reach the new root. If the maps have no 0, the child becomes the first
// id that they have, and still has all capabilities in the namespace. It never keeps its caller's
// ids: if they are not mapped, the files of the host's root would still be its own.
void become_root(const IdOptions& ids);

// In the child, in its root: returns `ids` with the user that --user names. Names are looked up in
// the container's /etc/passwd and /etc/group. As with docker run, a user whose group is not given
// has the groups of these files, and HOME in `process` becomes the user's home, or / if they have
// none.
[[nodiscard]] IdOptions find_user(const IdOptions& ids, ProcessOptions& process);

// In the child, with the container built: becomes the user of --user. Does nothing without --user.
void become_user(const IdOptions& ids);

}  // namespace box
