// Stage 01: a container is a process, and every process starts like this: fork, exec, wait.
//   bazel run //stages/01_exec -- /bin/sh

#include "common/run_main.h"
#include "stages/01_exec/process.h"

using namespace box;

static int run(CommandLine& line) {
  ProcessOptions process(line);
  line.parse();

  // in the parent
  Child child = start_child([&] {
    // in the child, until it becomes the command
    make_workdir(process);
    exec_command(process, host_environment());
  });
  // in the parent again
  return wait_for(child);
}

int main(int argc, char** argv) { return run_main(argc, argv, run); }
