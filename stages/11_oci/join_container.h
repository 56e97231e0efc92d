// Stage 11: a process in a container that runs already.
#pragma once

#include <functional>

#include "common/unique_fd.h"
#include "stages/01_exec/process.h"
#include "stages/07_cgroups/cgroup.h"

namespace box {

// Starts a child that leads a session in `cgroup` and in those namespaces of `init`, the
// container's first process. When the container's processes can first see the child, its root and
// its working directory are the container's; and `leave_host` has been called, which closes what
// the child must not have open then.
[[nodiscard]] Child start_session_with(UniqueFd init, int namespaces, const Cgroup& cgroup,
                                       const std::function<void()>& leave_host,
                                       const std::function<void()>& body);

}  // namespace box
