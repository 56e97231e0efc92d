// Stage 06: the files of /proc and /sys that describe or change the whole machine.
#pragma once

#include "stages/06_pivot_root/mounts.h"

namespace box {

// In the child, when a copied /sys and /dev/null are attached: covers everything that is mounted in
// /sys with an empty directory or the null device: the host's cgroups, its debugfs, a file.
void hide_what_is_mounted_in_sys(const HostMounts& host);

// In the child: hides or write-protects the same files of /proc and /sys as Docker does.
void protect_kernel_paths(const HostMounts& host);

}  // namespace box
