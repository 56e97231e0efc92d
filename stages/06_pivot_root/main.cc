// Stage 06: the host's file system is not just hidden but gone.
//   bazel run //stages/06_pivot_root -- /bin/sh

#include "common/run_main.h"
#include "stages/01_exec/process.h"
#include "stages/02_chroot/chroot.h"
#include "stages/03_userspace/userspace.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/05_userns/id_map.h"
#include "stages/06_pivot_root/kernel_paths.h"
#include "stages/06_pivot_root/mounts.h"

using namespace box;

static int run(CommandLine& line) {
  ProcessOptions process(line);
  RootOptions rootfs(line);
  UserspaceOptions userspace(line);
  NamespaceOptions isolation(line);
  IdOptions ids(line);
  MountOptions mounts(line);
  line.parse();

  // in the parent
  const std::string root = build_userspace(userspace, rootfs);
  const UniqueFd parent_pidfd = open_this_process();
  const auto namespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWIPC;
  OwnTerminal terminal;
  Handshake handshake;
  Child child = start_session_in(namespaces, ids, [&] {
    // in the child, until it becomes the command
    MountsByPath shown = handshake.wait_for_parent();
    join_new_keyring();
    make_mounts_private();
    set_hostname(isolation.hostname);
    enter_time_namespace(isolation.uptime);
    HostMounts host = take_from_host(mounts, shown);
    pivot_into(take_root(root, shown));
    become_root(ids);
    attach(host, terminal);
    protect_kernel_paths(host);
    make_workdir(process);
    if (mounts.read_only) make_root_read_only();
    become_user(terminal.give_to(find_user(ids, process)));
    die_with(parent_pidfd);
    if (isolation.init) become_init();
    exec_command(process, container_environment(line.program()));
  });
  // in the parent again
  write_id_maps(child.pid(), ids);
  handshake.let_child_go_on(take_as_parent({root}, mounts, child.pid(), ids));
  return wait_for_pid_1(child, &terminal);
}

int main(int argc, char** argv) { return run_main(argc, argv, run); }
