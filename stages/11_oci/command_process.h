// Stage 11: the process of a config as the options of the layers before.
#pragma once

#include <sys/types.h>

#include "stages/01_exec/process.h"
#include "stages/05_userns/id_map.h"
#include "stages/06_pivot_root/mounts.h"
#include "stages/08b_seccomp/seccomp_filter.h"
#include "stages/09_lsm/confinement.h"
#include "stages/11_oci/config.h"
#include "stages/11_oci/seccomp_supervisor.h"

namespace box {

[[nodiscard]] ProcessOptions command_of(const ConfigProcess& process);
[[nodiscard]] IdOptions ids_of(const Config& config, const ConfigProcess& process);
[[nodiscard]] SecurityOptions security_of(const Config& config, const ConfigProcess& process);
// For Confinement: the /proc that we see now. The child confines its command while that is still
// the host's: in the container's there may be no entry for a process that is not in it.
[[nodiscard]] HostMounts visible_proc();
// The program of linux.seccomp.
[[nodiscard]] SeccompOptions seccomp_of(const Config& config, const ConfigProcess& process);

// In the parent, which may do more than root in a user namespace: limits of the child that the
// command inherits.
void set_limits_of(pid_t child, const ConfigProcess& process);

// In the parent, for the same reason, when nothing but the start of the command is left to do: not
// sooner, because the kernel may give a child of `process` another policy, or let it have none, see
// SCHED_FLAG_RESET_ON_FORK and SCHED_DEADLINE in sched(7).
void schedule(pid_t process, const ConfigProcess& options);

// In the parent: `process`, 0 for the caller, runs on these CPUs only, if there are any in the
// list. The kernel moves a process that enters a cgroup to that cgroup's CPUs, see cpuset(7): so
// this is for before or after that.
void run_on(const CpuList& cpus, pid_t process);

// In the child: the limits of its config, which the parent has raised where that was needed. Throws
// Failure if one is lower than asked for.
void lower_limits(const ConfigProcess& process);

// In the child, in its root and with the rights of its user: throws Failure if the command cannot
// be executed, so that it is `create` that fails.
void check_command(const ConfigProcess& process);

// In the child: umask, personality and the filter. Keeps `preserved` descriptors from 3 on open.
[[nodiscard]] LastStep last_step_of(const Config& config, const ConfigProcess& process,
                                    const SeccompFilter& filter,
                                    const SeccompSupervisor& supervisor, int preserved);

}  // namespace box
