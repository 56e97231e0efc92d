// Stage 08c: a network of its own, and ways out of it.
//
//   bazel run //stages/08c_network --publish 8080:80 httpd -f -h /

#include "common/run_main.h"
#include "stages/01_exec/process.h"
#include "stages/02_chroot/chroot.h"
#include "stages/03_userspace/userspace.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/05_userns/id_map.h"
#include "stages/06_pivot_root/mounts.h"
#include "stages/08c_network/network.h"

namespace box {
namespace {

int run(CommandLine& line) {
  ProcessOptions process(line);
  RootOptions rootfs(line);
  UserspaceOptions userspace(line);
  NamespaceOptions own(line);
  IdOptions ids(line);
  MountOptions mounts(line);
  NetworkOptions network_options(line);
  line.parse();

  const std::string root = build_userspace(userspace, rootfs);
  const UniqueFd parent = open_this_process();
  Network network(network_options, own, mounts);
  const auto namespaces = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWIPC |
                          network.namespaces();
  Handshake handshake;
  Child child = start_child_in(namespaces, [&] {
    // In the child, until it becomes the command.
    handshake.wait_for_parent();
    make_mounts_private();
    set_hostname(own.hostname);
    HostMounts host = take_from_host(mounts);
    network.take_own_sys(host);
    pivot_into(root);
    become_root(ids);
    network.set_up_inside();
    attach(host);
    protect_kernel_paths();
    if (mounts.read_only) make_root_read_only();
    become_user(ids);
    die_with(parent);
    if (own.init) become_init();
    exec_command(process, container_environment(line.program()));
  });
  write_id_maps(child.pid(), ids);
  network.connect(child.pid());
  handshake.let_child_go_on();
  return wait_for_pid_1(child);
}

}  // namespace
}  // namespace box

int main(int argc, char** argv) { return box::run_main(argc, argv, box::run); }
