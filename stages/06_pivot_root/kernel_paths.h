// Stage 06: what /proc and /sys tell and change of the whole machine.
#pragma once

#include "stages/06_pivot_root/mounts.h"

namespace box {

// In the child, when a copied /sys and /dev/null are attached: puts an empty folder, or the null
// device, over whatever else is mounted in /sys: the host's cgroups, its debugfs, a file.
void hide_what_is_mounted_in_sys(const HostMounts& host);

// In the child: hides or write-protects the files of /proc and /sys that Docker does, too.
void protect_kernel_paths(const HostMounts& host);

}  // namespace box
