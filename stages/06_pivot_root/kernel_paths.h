// Stage 06: the files of /proc and /sys that describe or change the whole machine.
#pragma once

#include "stages/06_pivot_root/mounts.h"

namespace box {

// An empty directory or the null device covers each hidden path. Both are read-only, and the device
// is the one that we took from the host, because the container may have replaced /dev/null by now.
class Covers {
 public:
  // A mount that is not attached yet covers the first file itself, and copies of it the others: the
  // kernel copies only what is attached.
  explicit Covers(const UniqueFd& null, bool is_attached = true)
      : null_(null), is_attached_(is_attached) {}
  void hide(const UniqueFd& what, const std::string& path);

 private:
  const UniqueFd& null_;
  bool is_attached_;
  UniqueFd folder_;  // the first, of which the others are copies
};

// In the child, when a copied /sys and /dev/null are attached: covers everything that is mounted in
// /sys with an empty directory or the null device: the host's cgroups, its debugfs, a file.
void hide_what_is_mounted_in_sys(const HostMounts& host);

// In the child: hides or write-protects the same files of /proc and /sys as Docker does.
void protect_kernel_paths(const HostMounts& host);

}  // namespace box
