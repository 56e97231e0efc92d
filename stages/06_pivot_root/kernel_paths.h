// Stage 06: what /proc and /sys tell and change of the whole machine.
#pragma once

#include "stages/06_pivot_root/mounts.h"

namespace box {

// In the child, with a copied /sys in place: puts an empty folder over each other file system that
// is mounted in it: the host's cgroups, its debugfs. A sysfs of one's own has empty folders there.
void hide_what_is_mounted_in(const Sysfs& sys);

// In the child: hides or write-protects the files of /proc and /sys that Docker does, too.
void protect_kernel_paths(const HostMounts& host);

}  // namespace box
