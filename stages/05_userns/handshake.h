// The child waits until the parent has done what only the parent may do.
#pragma once

#include <map>
#include <string>

#include "common/fd_channel.h"
#include "common/unique_fd.h"

namespace box {

// Mounts that are not attached anywhere, by the paths that they have on the host.
using MountsByPath = std::multimap<std::string, UniqueFd>;

// Removes one mount of `path` from the list and returns it; -1 if there is none.
[[nodiscard]] UniqueFd take(MountsByPath& mounts, const std::string& path);

// A channel on which the parent tells the child once to go on, and passes mounts that only the
// parent has the privilege to make. If the parent dies or fails before that, the child reads
// end-of-file instead, and gives up.
class Handshake {
 public:
  Handshake();

  // In the child. Returns the mounts that were passed to let_child_go_on().
  MountsByPath wait_for_parent();
  // In the parent.
  void let_child_go_on(const MountsByPath& mounts = {});

 private:
  FdChannel parent_end_;
  FdChannel child_end_;
};

}  // namespace box
