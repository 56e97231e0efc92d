// Stage 11: user namespaces beside the one that a container is born in, see user_namespaces(7).
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "common/unique_fd.h"
#include "stages/11_oci/config.h"

namespace box {

// Opens it. Throws Failure if the path is not that of such a namespace.
[[nodiscard]] UniqueFd open_namespace(const NamespaceToJoin& joined);

// In the parent: returns a new user namespace with these maps, in which no process is.
[[nodiscard]] UniqueFd user_namespace_with(const IdMap& uid_map, const IdMap& gid_map);

// In the parent: if the config joins a user namespace, its maps become the config's. Throws Failure
// if the config has others.
void take_ids_of_joined(Config& config);
// The same for a container that runs.
void take_ids_of(pid_t process, Config& config);

// In the parent: clone3(2), which returns as fork(2) does, but the child is born in
// `user_namespace`, and owned by that are the namespaces that `flags` name. A process of its own
// joins it, because we would lose our rights on the host, and makes the child ours (CLONE_PARENT).
[[nodiscard]] pid_t clone_in(const UniqueFd& user_namespace, std::uint64_t flags, int cgroup);

}  // namespace box
