// Stage 11: namespaces that a config names, new ones and those of other containers.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>
#include <vector>

#include "common/unique_fd.h"
#include "stages/05_userns/id_map.h"
#include "stages/11_oci/config.h"

namespace box {

class ContainerNamespaces {
 public:
  // In the parent: opens those that exist already. Throws Failure if a path is not that of such a
  // namespace.
  explicit ContainerNamespaces(const Config& config);

  // Those that are made with the child: CLONE_NEW*.
  [[nodiscard]] std::uint64_t at_birth() const;
  // `ids` with which the child is born in the user namespace that the config joins, if it does.
  [[nodiscard]] IdOptions with_user_namespace(IdOptions ids) const;
  // Whether there are processes of another container in our PID namespace, which could look into
  // the child: see Succession.
  [[nodiscard]] bool has_neighbours() const { return pid_.get() != -1; }
  // In the child, with the host's /proc in place: enters all others.
  void enter();
  // In the child: makes a mount of procfs, which shows the PID namespace of the process that makes
  // it. With neighbours that is a process of its own, which has nothing but CAP_SYS_ADMIN.
  [[nodiscard]] UniqueFd mount_proc(const std::function<UniqueFd()>& make) const;
  // In the child: a PID namespace is not entered by the process that joins it, but by its children,
  // see pid_namespaces(7).
  void enter_for_children();
  // In the child: the names of hostname(1) and domainname(1), and the loopback of a new network,
  // which is down at first.
  void set_up() const;

 private:
  const Config& config_;
  UniqueFd pid_;   // the PID namespace to join
  UniqueFd user_;  // the user namespace to join
  std::vector<std::pair<int, UniqueFd>> joined_;
};

}  // namespace box
