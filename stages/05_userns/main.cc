// Stage 05: root inside, nobody special outside; root is no longer needed to start it.
//   bazel run //stages/05_userns -- /bin/sh

#include "common/run_main.h"
#include "stages/01_exec/process.h"
#include "stages/02_chroot/chroot.h"
#include "stages/03_userspace/userspace.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/05_userns/id_map.h"
#include "stages/05_userns/idmapped_mounts.h"

using namespace box;

static int run(CommandLine& line) {
  ProcessOptions process(line);
  RootOptions rootfs(line);
  UserspaceOptions userspace(line);
  NamespaceOptions isolation(line);
  IdOptions ids(line);
  line.parse();

  // in the parent
  const std::string root = build_userspace(userspace, rootfs);
  const UniqueFd parent_pidfd = open_this_process();
  const auto namespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWIPC;
  Handshake handshake;
  Child child = start_child_in(namespaces, ids, [&] {
    // in the child, until it becomes the command
    MountsByPath shown = handshake.wait_for_parent();
    join_new_keyring();
    make_mounts_private();
    set_hostname(isolation.hostname);
    enter_time_namespace(isolation.uptime);
    change_root(attach_in_place(shown, root));
    become_root(ids);
    mount_proc();
    make_workdir(process);
    become_user(find_user(ids, process));
    die_with(parent_pidfd);
    if (isolation.init) become_init();
    exec_command(process, container_environment(line.program()));
  });
  // in the parent again
  write_id_maps(child.pid(), ids);
  handshake.let_child_go_on(show_with_ids_inside({root}, child.pid(), ids));
  return wait_for_pid_1(child);
}

int main(int argc, char** argv) { return run_main(argc, argv, run); }
