#include "stages/11_oci/command_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/personality.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <sstream>

#include "common/check.h"
#include "common/open_in_root.h"
#include "common/write_file.h"
#include "stages/01_exec/signals.h"
#include "stages/09_lsm/attributes.h"

namespace box {
namespace {

std::string value_of(const ConfigProcess& process, const std::string& name,
                     const std::string& otherwise) {
  std::string value = otherwise;
  for (const auto& word : process.environment) {
    if (word.starts_with(name + "=")) value = word.substr(name.size() + 1);
  }
  return value;
}

// Whether execve(2) would get as far as to read the file, or why not.
int try_to_execute(const UniqueFd& folder, const std::string& path) {
  struct stat st = {};
  if (fstatat(folder.get(), path.c_str(), &st, 0) == -1) return errno;
  if (!S_ISREG(st.st_mode)) return EACCES;
  return faccessat(folder.get(), path.c_str(), X_OK, AT_EACCESS) == 0 ? 0 : errno;
}

}  // namespace

ProcessOptions command_of(const ConfigProcess& process) {
  ProcessOptions options;
  options.command = process.args;
  options.workdir = process.cwd;
  for (const auto& word : process.environment) {
    const auto equals = word.find('=');
    options.environment[word.substr(0, equals)] = word.substr(equals + 1);
  }
  return options;
}

IdOptions ids_of(const Config& config, const ConfigProcess& process) {
  IdOptions ids;
  ids.uid_map = config.uid_map;
  ids.gid_map = config.gid_map;
  ids.user_text = fmt::format("{}:{}", process.uid, process.gid);
  ids.user = process.uid;
  ids.group = process.gid;
  ids.groups = process.groups;
  ids.user_given = true;
  return ids;
}

SecurityOptions security_of(const Config& config, const ConfigProcess& process) {
  SecurityOptions security;
  security.apparmor = process.apparmor.empty() ? "unconfined" : process.apparmor;
  security.label.process = process.selinux_label;
  security.label.files = config.mount_label;
  security.label.disabled = security.label.is_default();  // without one in the config there is none
  return security;
}

HostMounts visible_proc() {
  HostMounts mounts;
  mounts.proc = open_proc();
  return mounts;
}

void set_limits_of(pid_t child, const ConfigProcess& process) {
  for (const Rlimit& limit : process.rlimits) {
    // Only to raise a limit takes a right that the child may lack. If we lack it, too,
    // lower_limits() fails.
    const rlimit64 value = {limit.soft, limit.hard};
    (void)prlimit64(child, static_cast<__rlimit_resource>(limit.resource), &value, nullptr);
  }
  if (process.oom_score_adj) {
    write_file(fmt::format("/proc/{}/oom_score_adj", child),
               std::to_string(*process.oom_score_adj));
  }
  if (process.io_priority) {
    constexpr int kOfProcess = 1;  // IOPRIO_WHO_PROCESS
    check(syscall(SYS_ioprio_set, kOfProcess, child, *process.io_priority), "ioprio_set({:#x})",
          *process.io_priority);
  }
}

void schedule(pid_t process, const ConfigProcess& options) {
  if (!options.scheduling) return;
  const Scheduling& scheduling = *options.scheduling;
  check(syscall(SYS_sched_setattr, process, &scheduling, 0),
        "process.scheduler: sched_setattr(policy {}, nice {}, priority {})", scheduling.policy,
        scheduling.nice, scheduling.priority);
}

void run_on(const CpuList& cpus, pid_t process) {
  if (cpus.text.empty()) return;
  check(syscall(SYS_sched_setaffinity, process, cpus.mask.size() * sizeof(cpus.mask[0]),
                cpus.mask.data()),
        "process.execCPUAffinity: sched_setaffinity({})", cpus.text);
}

void lower_limits(const ConfigProcess& process) {
  for (const Rlimit& limit : process.rlimits) {
    const rlimit64 value = {limit.soft, limit.hard};
    check(prlimit64(0, static_cast<__rlimit_resource>(limit.resource), &value, nullptr),
          "prlimit({}, {}, {})", limit.name, limit.soft, limit.hard);
  }
}

void check_command(const ConfigProcess& process) {
  const UniqueFd root(check_quietly(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), "open(/)"));
  const UniqueFd cwd(open_in_root(root.get(), process.cwd, O_PATH | O_DIRECTORY));
  check_quietly(cwd.get(), "chdir({})", process.cwd);
  const std::string& command = process.args[0];
  if (command.find('/') != std::string::npos) {
    if (const int error = try_to_execute(cwd, command); error != 0) {
      throw Failure(error, "exec " + command);
    }
    return;
  }
  std::istringstream folders(value_of(process, "PATH", "/bin:/usr/bin"));
  int found = ENOENT;
  for (std::string folder; std::getline(folders, folder, ':');) {
    const int error = try_to_execute(cwd, (folder.empty() ? "." : folder) + "/" + command);
    if (error == 0) return;
    if (error == EACCES) found = error;
  }
  // Engines look for these words.
  if (found == ENOENT) {
    throw Failure("exec \"" + command +
                  "\": executable file not found in $PATH: No such file or"
                  " directory");
  }
  throw Failure(found, "exec " + command);
}

SeccompOptions seccomp_of(const Config& config, const ConfigProcess& process) {
  if (config.seccomp.empty()) return {};
  try {
    return {config.seccomp, process.capabilities.bounding,
            config.seccomp_listener.empty() ? Supervisor::kNone : Supervisor::kIsThere};
  } catch (const Failure& failure) {
    throw Failure(std::string("linux.seccomp: ") + failure.what(), failure.hint());
  }
}

LastStep last_step_of(const Config& config, const ConfigProcess& process,
                      const SeccompFilter& filter, const SeccompSupervisor& supervisor,
                      int preserved) {
  LastStep step;
  step.descriptors = supervisor.descriptors();
  step.run = [&] {
    forget_callers_signals();  // conmon ignores SIGPIPE
    umask(process.umask);
    if (config.personality) {
      check_quietly(personality(*config.personality), "personality({:#x})", *config.personality);
    }
    supervisor.install(filter);
  };
  for (int i = 0; i < preserved; ++i) step.descriptors.push_back(STDERR_FILENO + 1 + i);
  return step;
}

}  // namespace box
