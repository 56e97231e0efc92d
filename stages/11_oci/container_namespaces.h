// Stage 11: namespaces that a config names, new ones and those of other containers.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "common/unique_fd.h"
#include "stages/11_oci/config.h"

namespace box {

class ContainerNamespaces {
 public:
  // In the parent: opens those that exist already. Throws Failure if a path is not that of such a
  // namespace.
  explicit ContainerNamespaces(const Config& config);

  // Those that the child is born in: CLONE_NEW*.
  [[nodiscard]] std::uint64_t at_birth() const;
  // In the parent: a PID namespace is not entered by the process that joins it, but by its
  // children, see pid_namespaces(7). From leave_for_children() on these are born in ours again.
  void enter_for_children() const;
  void leave_for_children() const;
  // In the child, with the host's /proc in place: enters all others.
  void enter();
  // In the child: the names of hostname(1) and domainname(1), and the loopback of a new network,
  // which is down at first.
  void set_up() const;

 private:
  const Config& config_;
  UniqueFd own_pid_;
  std::vector<std::pair<int, UniqueFd>> joined_;
};

}  // namespace box
