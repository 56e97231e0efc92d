// The child waits until the parent has done what only the parent can do for it.
#pragma once

#include <map>
#include <string>

#include "common/fd_channel.h"
#include "common/unique_fd.h"

namespace box {

// Mounts that are attached nowhere, by the paths that they have on the host.
using MountsByPath = std::multimap<std::string, UniqueFd>;

// Takes one of those of `path` out; -1 if there is none.
[[nodiscard]] UniqueFd take(MountsByPath& mounts, const std::string& path);

// A channel on which the parent says once: go on; and hands over mounts that take its privilege.
// If the parent dies or fails before, the child reads end-of-file instead, and gives up.
class Handshake {
 public:
  Handshake();

  // In the child. Returns what let_child_go_on() was given.
  MountsByPath wait_for_parent();
  // In the parent.
  void let_child_go_on(const MountsByPath& mounts = {});

 private:
  FdChannel parent_end_;
  FdChannel child_end_;
};

}  // namespace box
