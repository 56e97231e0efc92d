#include "stages/04_namespaces/namespaces.h"

#include <linux/sched.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "common/check.h"
#include "stages/04_namespaces/death_watch.h"

namespace box {
namespace {

constexpr std::size_t kMaxHostname = 64;  // __NEW_UTS_LEN of the kernel, see sethostname(2)

}  // namespace

NamespaceOptions::NamespaceOptions(CommandLine& line) : hostname(line.program()) {
  line.add_option(
      "--hostname", "NAME", "set the container's host name (default: " + hostname + ")",
      [this](const std::string& name) {
        if (name.empty() || name.size() > kMaxHostname) {
          throw Failure("a host name has 1 to 64 characters, not " + std::to_string(name.size()));
        }
        hostname = name;
      });
  line.add_option("--uptime", "SECONDS", "set the uptime that the container sees (default: 0)",
                  [this](const std::string& text) { uptime = parse_uptime(text); });
  line.add_flag("--init", init, "run an init as PID 1, which reaps orphans and forwards signals");
}

std::string names_of(std::uint64_t flags) {
  const struct {
    std::uint64_t flag;
    const char* name;
  } kFlags[] = {
      {CLONE_NEWUSER, "CLONE_NEWUSER"}, {CLONE_NEWPID, "CLONE_NEWPID"},
      {CLONE_NEWUTS, "CLONE_NEWUTS"},   {CLONE_NEWNS, "CLONE_NEWNS"},
      {CLONE_NEWIPC, "CLONE_NEWIPC"},   {CLONE_NEWCGROUP, "CLONE_NEWCGROUP"},
      {CLONE_NEWNET, "CLONE_NEWNET"},   {CLONE_INTO_CGROUP, "CLONE_INTO_CGROUP"},
  };
  std::string names;
  for (const auto& [flag, name] : kFlags) {
    if ((flags & flag) != 0) names += (names.empty() ? "" : "|") + std::string(name);
  }
  return names;
}

pid_t clone_process(std::uint64_t flags, int cgroup) {
  // clone3(2) without CLONE_VM is fork(2) with flags. glibc has no wrapper for it, so
  // pthread_atfork(3) handlers do not run, which does not matter without threads.
  clone_args arguments = {};
  arguments.flags = flags;
  arguments.exit_signal = SIGCHLD;
  arguments.cgroup = static_cast<std::uint64_t>(cgroup);
  return static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof arguments));
}

Child start_child_in(std::uint64_t namespaces, const std::function<void()>& body) {
  return {"clone3(" + names_of(namespaces) + ")",
          [namespaces] { return clone_process(namespaces); }, body};
}

void make_mounts_private() {
  // A new mount namespace starts as a copy whose mounts are still peers of the originals: systemd
  // makes / shared, so our mounts would appear on the host, see mount_namespaces(7).
  check(mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "mount(/, MS_REC|MS_PRIVATE)");
}

void set_hostname(const std::string& name) {
  check(sethostname(name.data(), name.size()), "sethostname({})", name);
}

void mount_proc() {
  // The old /proc shows the processes of the PID namespace in which it was mounted, the host's.
  if (mkdir("/proc", 0555) == -1 && errno != EEXIST) check(-1, "mkdir(/proc)");
  check(mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr),
        "mount(proc, /proc)");
}

UniqueFd open_this_process() {
  return UniqueFd(check_quietly(static_cast<int>(syscall(SYS_pidfd_open, getpid(), 0)),
                                "pidfd_open({})", getpid()));
}

void die_with(const UniqueFd& parent) {
  // A change of user clears this setting, and so does the exec of a set-user-ID program, see
  // prctl(2).
  check(prctl(PR_SET_PDEATHSIG, SIGKILL), "prctl(PR_SET_PDEATHSIG, SIGKILL)");
  // If the parent died before the prctl(), the kernel will not signal us. getppid(2) cannot tell,
  // because it returns 0 for every parent outside our PID namespace; but a pidfd is readable once
  // its process has ended, see pidfd_open(2).
  pollfd event = {parent.get(), POLLIN, 0};
  if (check_quietly(poll(&event, 1, 0), "poll(parent)") > 0) throw Failure("the parent died");
}

bool takes_signal(pid_t process, int signal) {
  std::ifstream status("/proc/" + std::to_string(process) + "/status");
  std::uint64_t taken = 0;
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("State:\tZ", 0) == 0) return true;  // it got the signal, and has ended
    // A signal that is ignored on purpose, as under nohup(1), is not worth a message.
    for (const char* set : {"SigCgt:", "SigBlk:", "SigIgn:"}) {
      if (line.rfind(set, 0) == 0) taken |= std::stoull(line.substr(7), nullptr, 16);
    }
  }
  return (taken >> (signal - 1) & 1) != 0;
}

int wait_for_pid_1(Child& child, Companion* companion) {
  const DeathWatch watch(child.pid(), companion);
  int discarded = 0;
  const auto after_signal = [&](int signal) {
    if (takes_signal(child.pid(), signal)) return;
    ++discarded;
    // SIGHUP: the terminal is closed, and no user can press Ctrl-C any more.
    if (discarded == 3 || signal == SIGHUP) {
      check(kill(child.pid(), SIGKILL), "kill({}, SIGKILL)", child.pid());
    } else if (discarded == 1) {
      warn(fmt::format("PID 1 has no handler for SIG{}, so the kernel discards it",
                       sigabbrev_np(signal)),
           "--init runs the command as PID 2; the same signal twice more kills the container");
    }
  };
  return wait_for(child, after_signal, companion);
}

}  // namespace box
