// Stage 02: another root directory.
#pragma once

#include <string>

#include "common/command_line.h"
#include "stages/01_exec/process.h"

namespace box {

// --rootfs
struct RootOptions {
  explicit RootOptions(CommandLine& line);

  std::string directory;  // as given; "" for the built-in one
};

// In the parent: throws Failure for an ordinary user, before anything is made. The command of a
// stage that calls this will be root of the host.
void require_root();

// In the parent: returns the directory for built roots, "" for the usual one. If root has started a
// stage whose command will not be root of the host, they are kept apart: what such a command leaves
// in its root, /bin/sh for instance, must never run as root of the host.
[[nodiscard]] std::string cache_of_roots();

// In the parent: returns the absolute path of the directory that --rootfs names, or of the built-in
// root, which is unpacked at the first call. Throws Failure if there is no such directory.
[[nodiscard]] std::string find_root(const RootOptions& rootfs);

// In the child: makes `root` the root directory, and the working directory too.
void change_root(const std::string& root);

// The environment inside. The host's environment describes the host: its PATH, HOME and
// LD_LIBRARY_PATH name files that the container does not have, and the container has no need to
// know the rest. As with docker run, only TERM is passed on; `container` is set to the stage's
// name.
[[nodiscard]] Environment container_environment(const std::string& stage);

}  // namespace box
