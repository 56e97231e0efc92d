// Stage 05: mounts that show files with their owners' ids inside, see "ID mapping" in
// mount_setattr(2).
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "stages/05_userns/handshake.h"
#include "stages/05_userns/id_map.h"

namespace box {

// In the parent, with the child's maps written: for each directory or file of `paths` whose owner
// has no id inside, a copy of its mount through which id 0 on the disk is id 0 inside, 1 is 1, and
// so on in both directions. For an ordinary user none is made: by the maps alone, their own files
// belong to root inside. Throws Failure, with a hint, if the file system does not support such
// mounts.
[[nodiscard]] MountsByPath show_with_ids_inside(const std::vector<std::string>& paths, pid_t child,
                                                const IdOptions& ids);

// In the parent, as root of the host: runs `body` in the mount namespace of `child`, where a copy
// of a mount keeps its read-only, nosuid and the like for good: in a less privileged namespace the
// kernel locks them against root inside, see "Restrictions on mount namespaces" in
// mount_namespaces(7).
void in_mounts_of(pid_t child, const std::function<void()>& body);

// In the parent: returns a detached copy of the mount at `path`, and with AT_RECURSIVE of those
// below it. make_mounts_private() has changed the child's mounts only; the parent's may be shared,
// and mounts in a copy of these would appear on the host.
[[nodiscard]] UniqueFd private_copy(const std::string& path, unsigned flags);

// In the child: if the parent has made a mount of the directory `path`, attaches it there and
// enters it. Returns the path by which the directory can be reached then.
[[nodiscard]] std::string attach_in_place(MountsByPath& mounts, const std::string& path);

}  // namespace box
