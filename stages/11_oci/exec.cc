#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/check.h"
#include "common/open_in_root.h"
#include "common/parse_number.h"
#include "common/read_file.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/05_userns/handshake.h"
#include "stages/05_userns/id_map.h"
#include "stages/07_cgroups/cgroup.h"
#include "stages/08b_seccomp/seccomp_filter.h"
#include "stages/09_lsm/confinement.h"
#include "stages/11_oci/command_process.h"
#include "stages/11_oci/commands.h"
#include "stages/11_oci/console.h"
#include "stages/11_oci/container.h"
#include "stages/11_oci/succession.h"
#include "stages/11_oci/user_namespace.h"

namespace box {
namespace {

void set_user(const std::string& text, ConfigProcess& process) {
  const auto colon = text.find(':');
  const auto uid = parse_number<uid_t>(text.substr(0, colon));
  const auto gid = colon == std::string::npos ? std::optional<gid_t>(process.gid)
                                              : parse_number<gid_t>(text.substr(colon + 1));
  if (!uid || !gid) throw Failure("--user " + text + ": is not UID[:GID]");
  process.uid = *uid;
  process.gid = *gid;
}

// Of --process, or the container's with what the command line changes.
ConfigProcess process_of(const Request& request, const Config& config) {
  if (!request.process.empty()) {
    const UniqueFd file(check_quietly(open(request.process.c_str(), O_RDONLY | O_CLOEXEC),
                                      "--process: open({})", request.process));
    try {
      return parse_process(read_to_end(file.get(), request.process));
    } catch (const Failure& failure) {
      throw Failure("--process " + request.process + ": " + failure.what());
    }
  }
  if (request.arguments.empty()) throw Failure("exec needs a command, or --process");
  ConfigProcess process = *config.process;
  process.args = request.arguments;
  process.terminal = request.terminal;
  process.no_new_privs = process.no_new_privs || request.no_new_privs;
  for (const auto& word : request.environment) {
    if (word.find('=') == std::string::npos || word.front() == '=') {
      throw Failure("--env " + word + ": is not KEY=VALUE");
    }
    process.environment.push_back(word);
  }
  if (!request.cwd.empty()) process.cwd = request.cwd;
  if (!request.user.empty()) set_user(request.user, process);
  return process;
}

int namespaces_of(const Config& config) {
  int flags = static_cast<int>(config.new_namespaces);
  for (const auto& joined : config.joined) flags |= joined.flag;
  return flags;
}

std::string cgroup_for(const Request& request, const ContainerState& state) {
  if (request.cgroup.empty() || request.cgroup == "/") return state.cgroup;
  if (state.cgroup.empty()) throw Failure("--cgroup: the container has no cgroup of its own");
  const std::string path = "/" + request.cgroup;
  if ((path + "/").find("/../") != std::string::npos) throw Failure("--cgroup: contains ..");
  if (!file_exists(state.cgroup + path + "/cgroup.procs")) {
    throw Failure("--cgroup " + request.cgroup + ": the container has no such cgroup");
  }
  return state.cgroup + path;
}

// The container may have mounted anything there by now.
UniqueFd open_devpts() {
  const UniqueFd root(check_quietly(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), "open(/)"));
  UniqueFd devpts(open_in_root(root.get(), "/dev/pts", O_PATH | O_DIRECTORY));
  struct statfs fs = {};
  if (devpts.get() == -1 || fstatfs(devpts.get(), &fs) == -1 || fs.f_type != DEVPTS_SUPER_MAGIC) {
    return UniqueFd();
  }
  return devpts;
}

// All at once, and with them the root directory: from here on no path is of the host.
void join(UniqueFd init, int namespaces) {
  check(setns(init.get(), namespaces), "setns({})",
        names_of(static_cast<std::uint64_t>(namespaces)));
}

}  // namespace

int exec_in_container(const Request& request) {
  // in the parent
  StateFolder folder = StateFolder::open(request.root, request.id);
  const ContainerState state = folder.read();
  const std::string status = status_of(folder, state);
  if (status == "stopped") throw Failure("cannot exec in a stopped container");
  if (status == "paused" && !request.ignore_paused) {
    throw Failure("cannot exec in a paused container (use --ignore-paused to override)");
  }
  Config config = parse_config(folder.config(), state.bundle);
  take_ids_of(state.pid, config);
  const ConfigProcess process = process_of(request, config);
  const IdOptions ids = ids_of(config, process);
  ids.check_that_user_is_mapped("exec");
  ProcessOptions command = command_of(process);
  const SeccompOptions seccomp = seccomp_of(config, process);
  const SeccompFilter filter(seccomp);
  const SeccompSupervisor supervisor(config, seccomp);
  const Confinement confinement(security_of(config, process));
  OwnTerminal terminal;
  Console console(process, request.console_socket, request.detach ? nullptr : &terminal);
  UniqueFd init = open_init(state);
  Cgroup cgroup(cgroup_for(request, state));
  cgroup.let_go();  // it is the container's
  run_on(process.exec_affinity.initial_cpus, 0);
  Handshake handshake;
  Succession succession;
  Child child = start_session_in(0, IdOptions(), cgroup, [&] {
    // in the child, until it becomes the command
    folder.close();
    console.close_in_child();
    (void)handshake.wait_for_parent();
    if (request.new_keyring) join_new_keyring();
    confinement.confine_command(visible_proc());
    join(std::move(init), namespaces_of(config));
    become_root(ids);
    (void)console.open_in(process.terminal ? open_devpts() : UniqueFd());
    console.give_to_user();
    lower_limits(process);
    keep_only(process.capabilities, process.no_new_privs, find_user(ids, command));
    check_command(process);
    const LastStep last_step =
        last_step_of(config, process, filter, supervisor, request.preserved_fds);
    succession.hand_over(last_step.descriptors);
    exec_command(command, {}, last_step);
  });
  // in the parent again
  set_limits_of(child.pid(), process);
  handshake.let_child_go_on();
  console.pass_on();
  succession.follow(child, [&] {
    run_on(process.exec_affinity.final_cpus, child.pid());
    schedule(child.pid(), process);
    supervisor.has_process(child.pid(), state_as_json(state, "running"));
  });
  (void)child.has_started(-1);
  write_pid_file(request.pid_file, child.pid());
  if (!request.detach) return wait_for_pid_1(child, &terminal);
  child.let_go();
  return 0;
}

}  // namespace box
