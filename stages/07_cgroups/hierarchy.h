// Where on this machine the cgroups are, and where a new one may be made.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace box {

// The mount of cgroup v2 through which our own cgroup is seen.
struct Hierarchy {
  std::string mount_point;  // "/sys/fs/cgroup", or "/sys/fs/cgroup/unified" on a hybrid host
  std::string own;          // the directory of our own cgroup, at or below it
  // Whether a cgroup namespace is a boundary: root in it cannot change the limits of its own
  // cgroup, see "Delegation containment" in the kernel's cgroup-v2.rst. systemd mounts it so.
  bool nsdelegate = false;
};

// Reads the texts of /proc/self/mountinfo and /proc/self/cgroup, see proc(5) and cgroups(7).
[[nodiscard]] std::optional<Hierarchy> parse_hierarchy(std::string_view mountinfo,
                                                       std::string_view cgroup);

// In the parent: the same, of this process. Throws Failure if no cgroup v2 is mounted.
[[nodiscard]] Hierarchy find_hierarchy();

// In the parent: returns the cgroup in which we may make one with these `controllers`: our own, or
// the nearest above it in which the kernel and our permissions allow it. Does not change anything.
// Throws Failure, with a hint.
[[nodiscard]] std::string find_parent_cgroup(const Hierarchy& hierarchy,
                                             const std::vector<std::string>& controllers);

// The `wanted` words that are not in `path`, a file of words such as cgroup.controllers.
[[nodiscard]] std::vector<std::string> missing_in(const std::string& path,
                                                  const std::vector<std::string>& wanted);

}  // namespace box
