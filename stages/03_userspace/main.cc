// Stage 03: the new root is made of the host's own programs, with the libraries that they need.
//   bazel run --config=root //stages/03_userspace -- --userspace minimal bash

#include "common/run_main.h"
#include "stages/01_exec/process.h"
#include "stages/02_chroot/chroot.h"
#include "stages/03_userspace/userspace.h"

using namespace box;

static int run(CommandLine& line) {
  ProcessOptions process(line);
  RootOptions rootfs(line);
  UserspaceOptions userspace(line);
  line.parse();

  // in the parent
  require_root();
  const std::string root = build_userspace(userspace, rootfs);
  Child child = start_child([&] {
    // in the child, until it becomes the command
    change_root(root);
    make_workdir(process);
    exec_command(process, container_environment(line.program()));
  });
  // in the parent again
  return wait_for(child);
}

int main(int argc, char** argv) { return run_main(argc, argv, run); }
