// Stage 11: the same layers as an OCI runtime, for the engines that conmon and containerd are.
//   sudo bazel-bin/stages/11_oci/11_oci run --bundle DIR ID

#include <sched.h>

#include "common/run_main.h"
#include "stages/01_exec/process.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/05_userns/id_map.h"
#include "stages/06_pivot_root/mounts.h"
#include "stages/07_cgroups/cgroup.h"
#include "stages/08b_seccomp/seccomp_filter.h"
#include "stages/09_lsm/confinement.h"
#include "stages/11_oci/command_process.h"
#include "stages/11_oci/commands.h"
#include "stages/11_oci/console.h"
#include "stages/11_oci/container.h"
#include "stages/11_oci/container_mounts.h"
#include "stages/11_oci/container_namespaces.h"
#include "stages/11_oci/hooks.h"
#include "stages/11_oci/sealed_copy.h"
#include "stages/11_oci/seccomp_supervisor.h"
#include "stages/11_oci/start_gate.h"
#include "stages/11_oci/succession.h"

using namespace box;

// create, and run, which is create, start and, unless it is detached, delete.
static int build(const Request& request) {
  const bool waits = request.command == "run" && !request.detach;

  // in the parent
  NewContainer container(request);
  const Config& config = container.config();
  const ConfigProcess& process = container.process();
  ProcessOptions command = command_of(process);
  ContainerNamespaces namespaces(config);
  const IdOptions ids = namespaces.with_user_namespace(ids_of(config, process));
  const bool neighbours = namespaces.has_neighbours();
  const SeccompOptions seccomp = seccomp_of(config, process);
  const SeccompFilter filter(seccomp);
  const SeccompSupervisor supervisor(config, seccomp);
  const Confinement confinement(security_of(config, process));
  OwnTerminal terminal;
  Console console(process, request.console_socket, waits ? &terminal : nullptr);
  ContainerMounts mounts(config, container.cgroup());
  Cgroup cgroup(container.with_cgroup());
  StartGate gate(container.folder());
  Handshake handshake;
  Succession succession;
  Child child = start_session_in(namespaces.at_birth(), ids, cgroup, [&] {
    // in the child, until it becomes the command
    container.close_in_child();
    MountsByPath shown = handshake.wait_for_parent();
    if (request.new_keyring) join_new_keyring();
    make_mounts_private();
    namespaces.enter();
    namespaces.set_up();
    run_hooks("createContainer", config.hooks.create_container,
              container.state_for_hooks("created"));
    become_root(ids);
    confinement.confine_command(visible_proc());
    mounts.make_new(std::move(shown), namespaces);
    pivot_into(mounts.root());
    mounts.attach(console, namespaces);
    mounts.write_sysctl();
    mounts.protect();
    console.give_to_user();
    lower_limits(process);
    namespaces.enter_for_children();
    keep_only(process.capabilities, process.no_new_privs, find_user(ids, command));
    check_command(process);
    const LastStep last_step =
        last_step_of(config, process, filter, supervisor, request.preserved_fds);
    if (neighbours) succession.hand_over(gate.and_for(last_step.descriptors));
    gate.wait(last_step.descriptors);
    run_hooks("startContainer", config.hooks.start_container, container.state_for_hooks("created"));
    exec_command(command, {}, last_step);
  });
  // in the parent again
  gate.close();
  if ((namespaces.at_birth() & CLONE_NEWUSER) != 0) write_id_maps(child.pid(), ids);
  set_limits_of(child.pid(), process);
  container.has_process(child.pid());
  handshake.let_child_go_on(mounts.take_as_parent(child.pid()));
  console.pass_on();
  if (neighbours) succession.follow(child, [&] { container.goes_on_as(child.pid()); });
  supervisor.has_process(child.pid(), container.state_for_hooks("creating"));
  (void)child.has_started(-1);
  schedule(child.pid(), process);
  container.is_created();
  cgroup.let_go();
  if (!waits) child.let_go();
  return request.command == "create" ? 0
                                     : run_created(request, container.folder(), child, terminal);
}

int main(int argc, char** argv) {
  run_from_sealed_copy(argv);
  return run_main(argc, argv, [&](CommandLine&) { return run_command(argc, argv, build); });
}
