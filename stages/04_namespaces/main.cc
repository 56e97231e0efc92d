// Stage 04: the command gets its own processes, host name, mounts, System V IPC and uptime.
//   bazel run --config=root //stages/04_namespaces -- /bin/sh

#include "common/run_main.h"
#include "stages/01_exec/process.h"
#include "stages/02_chroot/chroot.h"
#include "stages/03_userspace/userspace.h"
#include "stages/04_namespaces/namespaces.h"

using namespace box;

static int run(CommandLine& line) {
  ProcessOptions process(line);
  RootOptions rootfs(line);
  UserspaceOptions userspace(line);
  NamespaceOptions isolation(line);
  line.parse();

  // in the parent
  require_root();
  const std::string root = build_userspace(userspace, rootfs);
  const UniqueFd parent_pidfd = open_this_process();
  const auto namespaces = CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWIPC;
  Child child = start_child_in(namespaces, [&] {
    // in the child, until it becomes the command
    make_mounts_private();
    set_hostname(isolation.hostname);
    enter_time_namespace(isolation.uptime);
    change_root(root);
    mount_proc();
    make_workdir(process);
    die_with(parent_pidfd);
    if (isolation.init) become_init();
    exec_command(process, container_environment(line.program()));
  });
  // in the parent again
  return wait_for_pid_1(child);
}

int main(int argc, char** argv) { return run_main(argc, argv, run); }
