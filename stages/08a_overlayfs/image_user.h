// Who runs an image's command.
#pragma once

#include "stages/01_exec/process.h"
#include "stages/05_userns/id_map.h"
#include "stages/08a_overlayfs/layer_stack.h"

namespace box {

// In the child, in its root: who --user says, or else whom the image names; that may be by a name,
// which is looked up in the container's /etc/passwd and /etc/group. Sets HOME to theirs.
[[nodiscard]] IdOptions find_user(const LayerOptions& options, const IdOptions& ids,
                                  ProcessOptions& process);

}  // namespace box
