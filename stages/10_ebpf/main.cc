// Stage 10: the published ports take a shortcut, by eBPF.
//   bazel run --config=root //stages/10_ebpf -- --publish 8080:80 httpd -f -h /

#include "common/run_main.h"
#include "stages/01_exec/process.h"
#include "stages/02_chroot/chroot.h"
#include "stages/03_userspace/userspace.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/05_userns/id_map.h"
#include "stages/06_pivot_root/kernel_paths.h"
#include "stages/06_pivot_root/mounts.h"
#include "stages/07_cgroups/cgroup.h"
#include "stages/08a_overlayfs/image_user.h"
#include "stages/08a_overlayfs/overlay.h"
#include "stages/08b_seccomp/seccomp_filter.h"
#include "stages/08c_network/network.h"
#include "stages/09_lsm/confinement.h"
#include "stages/10_ebpf/shortcut.h"

using namespace box;

static int run(CommandLine& line) {
  ProcessOptions process(line);
  RootOptions rootfs(line);
  UserspaceOptions userspace(line);
  NamespaceOptions isolation(line);
  IdOptions ids(line);
  MountOptions mounts(line);
  CgroupOptions limits(line);
  LayerOptions layering(line, process);
  CapabilityOptions capabilities(line);
  SeccompOptions seccomp(line, capabilities);
  NetworkOptions networking(line, isolation);
  SecurityOptions security(line);
  ShortcutOptions shortcutting(line, networking);
  line.parse();

  // in the parent
  Layers layers = stack_layers(layering, userspace, rootfs, ids);
  const UniqueFd parent_pidfd = open_this_process();
  const auto namespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWIPC;
  Cgroup cgroup(limits);
  const SeccompFilter filter(seccomp);
  const Confinement confinement(security);
  Network network(networking);
  OwnTerminal terminal;
  Handshake handshake;
  Child child = start_session_in(namespaces | network.namespaces(), ids, cgroup, [&] {
    // in the child, until it becomes the command
    MountsByPath shown = handshake.wait_for_parent();
    join_new_keyring();
    make_mounts_private();
    set_hostname(isolation.hostname);
    enter_time_namespace(isolation.uptime);
    HostMounts host = network.take_from_host(mounts, shown);
    OpenLayers folders = take_layers(layers, shown);
    become_root(ids);
    pivot_into(mount_overlay(folders));
    network.set_up_inside(host);
    attach(host, terminal);
    cgroup.enter_namespace();
    protect_kernel_paths(host);
    make_workdir(process);
    if (mounts.read_only) make_root_read_only();
    confinement.confine_command(host);
    drop_privileges(capabilities, terminal.give_to(find_user(layering, ids, process)));
    die_with(parent_pidfd);
    if (isolation.init) become_init();
    exec_command(process, container_environment(line.program()), filter.as_last_step());
  });
  // in the parent again
  write_id_maps(child.pid(), ids);
  network.connect(child.pid());
  const Shortcut shortcut(shortcutting, child.pid());
  handshake.let_child_go_on(take_as_parent(layers.paths(), mounts, child.pid(), ids));
  return filter.explain(cgroup.finish(wait_for_pid_1(child, &terminal)));
}

int main(int argc, char** argv) { return run_main(argc, argv, run); }
