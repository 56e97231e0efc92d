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

// In the parent: refuses to go on for an ordinary user, before anything is made.
void require_root();

// In the parent: the absolute path of the directory that --rootfs names, or of the built-in root,
// which is unpacked at the first call. Throws Failure if there is no such directory.
[[nodiscard]] std::string find_root(const RootOptions& rootfs);

// In the child: makes `root` the root directory, and the working directory too.
void change_root(const std::string& root);

// The environment inside. The host's describes the host: its PATH, HOME and LD_LIBRARY_PATH name
// files that are not there, and what else is in it is nobody's business in the container. As with
// docker run, TERM alone is passed on; `container` says which stage made it.
[[nodiscard]] Environment container_environment(const std::string& stage);

}  // namespace box
