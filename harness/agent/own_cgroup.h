// A part of the machine's cgroups for the agent's host, which does not see the rest.
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace box {

// If there is no cgroup v2 that we may write to, this is empty, and enter() only hides version 1.
class OwnCgroup {
 public:
  // Makes it. For the process that stays outside and removes it at the end.
  OwnCgroup();

  // Moves the caller into it, which then sees it as the root of all cgroups, in a new cgroup
  // namespace, see cgroup_namespaces(7), and sees none of version 1. The caller has a mount
  // namespace of its own.
  void enter();

  // Removes it with all cgroups in it. No process runs there any more.
  void remove();

 private:
  std::string mount_point_;
  UniqueFd top_;  // of the machine's
  UniqueFd own_;  // locked
  std::string name_;
};

}  // namespace box
