// Stage 03: a root made of the host's own programs.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "stages/02_chroot/chroot.h"

namespace box {

// --userspace and --with
struct UserspaceOptions {
  explicit UserspaceOptions(CommandLine& line);

  std::string kind = "none";      // or "full", "minimal"
  std::vector<std::string> with;  // absolute paths of programs and directories
  std::string program;            // the stage, for its messages
};

// In the parent, before the child starts: returns the directory that will become the root.
//
//   none     `rootfs`, the directory of --rootfs; if that is "", the built-in root
//   full     a copy of the host's /usr and what belongs to it
//   minimal  a few of the host's programs, with the libraries that they need
//
// --with PROGRAM adds to it: with none, to a copy of the built-in root. The host's users do not get
// in: passwd, group, hosts and so on are those of the built-in root.
//
// A new root is built at `rootfs`; if that is "", in the directory `cache` ("": cache_of_roots()),
// under a name that changes with the files. A root that exists already is used again. A failure
// leaves nothing behind.
[[nodiscard]] std::string build_userspace(const UserspaceOptions& userspace,
                                          const RootOptions& rootfs, const std::string& cache = "");

// The same; `builtin_rootfs` is called for the built-in root.
std::string build_userspace(const UserspaceOptions& userspace, const std::string& rootfs,
                            const std::string& cache,
                            const std::function<std::string()>& builtin_rootfs);

}  // namespace box
