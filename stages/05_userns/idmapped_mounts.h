// Stage 05: files that keep their owners though their owners' ids have changed, see "ID mapping" in
// mount_setattr(2).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "stages/05_userns/handshake.h"
#include "stages/05_userns/id_map.h"

namespace box {

// In the parent, with the child's maps written: for each directory or file of `paths` whose owner
// has no id inside, a copy of its mount through which id 0 on the disk is id 0 inside, 1 is 1, and
// so on in both directions. What an ordinary user may not map is left out: their own files are
// root's inside by the maps alone. Throws Failure, with a hint, if the file system is of a kind
// that cannot be shown so.
[[nodiscard]] MountsByPath show_with_ids_inside(const std::vector<std::string>& paths, pid_t child,
                                                const IdOptions& ids);

// In the parent: a copy of the mount at `path`, attached nowhere, and with AT_RECURSIVE of those
// below it. Unlike what make_mounts_private() has changed in the child, the parent's mounts may be
// shared, and what is mounted in a copy of these would appear on the host.
[[nodiscard]] UniqueFd private_copy(const std::string& path, unsigned flags);

// In the child: if the parent has made a mount of the directory `path`, attaches it there and
// enters it. Returns the path that the directory then has.
[[nodiscard]] std::string attach_in_place(MountsByPath& mounts, const std::string& path);

}  // namespace box
