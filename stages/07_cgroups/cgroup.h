// Stage 07: a cgroup of its own limits the resources of the container, see cgroups(7); a cgroup
// namespace makes it the only cgroup that the container sees, see cgroup_namespaces(7).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/unique_fd.h"
#include "stages/01_exec/process.h"
#include "stages/05_userns/id_map.h"
#include "stages/07_cgroups/limits.h"

namespace box {

// The container's cgroup.
class Cgroup {
 public:
  // In the parent, before the child starts: removes cgroups that a killed parent has left, makes
  // the container's cgroup beside or above our own, and sets the limits. If the machine does not
  // allow that, throws Failure if a limit or --stats was asked for; otherwise the container stays
  // in our own cgroup, and --verbose shows why.
  explicit Cgroup(const CgroupOptions& options);

  // A cgroup that exists, at that path; "" for none of its own.
  explicit Cgroup(std::string path) : path_(std::move(path)) {}
  // In the parent: kills the processes that are still in the cgroup, and removes it.
  ~Cgroup();
  Cgroup(const Cgroup&) = delete;
  Cgroup& operator=(const Cgroup&) = delete;

  // In the child, with /sys in place: from here on /proc/self/cgroup shows its own cgroup as "/",
  // and /sys/fs/cgroup contains only that, read-only.
  void enter_namespace() const;

  // In the parent, after the container has ended: reports whether it ran out of memory, and the
  // numbers of --stats; removes the cgroup. Returns the status.
  [[nodiscard]] int finish(int exit_status);

  // In the parent.
  void add(pid_t process) const;
  // From now on the cgroup may outlive this object: another process looks after it.
  void let_go() { let_go_ = true; }

  // Whether the container has a cgroup of its own instead of ours.
  [[nodiscard]] bool is_own() const { return !path_.empty(); }

 private:
  friend Child start_session_in(std::uint64_t namespaces, const IdOptions& ids, Cgroup& cgroup,
                                const std::function<void()>& body);

  void make_in(const std::string& parent);
  [[nodiscard]] UniqueFd open_directory() const;
  void close_in_child() { lock_.close(); }
  void set_limits(const CgroupOptions& options) const;
  void tell_of_out_of_memory() const;
  void tell_stats() const;
  void remove() noexcept;

  std::string path_;
  UniqueFd lock_;  // held as long as the parent lives
  bool limited_ = false;
  bool stats_ = false;
  bool let_go_ = false;
};

// Makes the controllers available to the cgroups below `parent`.
void enable_controllers(const std::string& parent, const std::vector<std::string>& controllers);

// Returns the number after `key` in a file of `cgroup`, or the file's only number if `key` is "".
// Returns nullopt if this kernel or this cgroup has no such file or key.
[[nodiscard]] std::optional<std::uint64_t> number_in(const std::string& cgroup,
                                                     const std::string& name,
                                                     const std::string& key = "");

// Kills the processes that are in it, and removes it with the cgroups below it.
void kill_and_remove_cgroup(const std::string& cgroup);

// start_session_in(), but the child is born in `cgroup`: it is never outside. On a kernel that
// cannot do that, the child waits until the parent has moved it.
[[nodiscard]] Child start_session_in(std::uint64_t namespaces, const IdOptions& ids, Cgroup& cgroup,
                                     const std::function<void()>& body);

}  // namespace box
