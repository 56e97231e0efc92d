// Stage 11: mounts that show other owners than those on the disk, see "ID-mapped mounts" in
// mount_setattr(2).
#pragma once

#include "common/unique_fd.h"
#include "stages/11_oci/mount_options.h"

namespace box {

// In the parent, as root of the host: what belongs to `containerID` of the config's mappings on the
// disk belongs to `hostID` in `copy`, which is a detached copy of the mount's source and nowhere
// visible yet; and the other way round for what is made there. With ridmap also in what is mounted
// below. Throws Failure, which names the mount, if the file system does not support that.
void map_ids_of(const UniqueFd& copy, const ConfigMount& mount);

}  // namespace box
