// Stage 02: the command gets another root directory, and cannot name files outside of it.
//   bazel run --config=root //stages/02_chroot -- /bin/sh

#include "common/run_main.h"
#include "stages/01_exec/process.h"
#include "stages/02_chroot/chroot.h"

using namespace box;

static int run(CommandLine& line) {
  ProcessOptions process(line);
  RootOptions rootfs(line);
  line.parse();

  // in the parent
  require_root();
  const std::string root = find_root(rootfs);
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
