// The user that runs an image's command.
#pragma once

#include "stages/01_exec/process.h"
#include "stages/05_userns/id_map.h"
#include "stages/08a_overlayfs/layer_stack.h"

namespace box {

// In the child, in its root: returns `ids` with the user that the image names, unless --user names
// one. An image may do so by name, which is looked up in the container's /etc/passwd and
// /etc/group; the user's groups are those of /etc/group. The user's home becomes HOME in `process`,
// unless that has one.
[[nodiscard]] IdOptions find_user(const LayerOptions& options, const IdOptions& ids,
                                  ProcessOptions& process);

}  // namespace box
