// A part of the machine's cgroups for the agent's host, which is all that is seen of them from
// there.
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace box {

// Where there is no cgroup v2 that may be written, this is none: enter() only hides version 1.
class OwnCgroup {
 public:
  // Makes it. For the process that stays outside and removes it in the end.
  OwnCgroup();

  // Moves the caller into it, which then sees it as the root of all cgroups, in a new cgroup
  // namespace, see cgroup_namespaces(7), and sees none of version 1. The caller has a mount
  // namespace of its own.
  void enter();

  // With all cgroups that were made in it. Nothing runs there any more.
  void remove();

 private:
  std::string mount_point_;
  UniqueFd top_;  // of the machine's
  std::string name_;
};

}  // namespace box
