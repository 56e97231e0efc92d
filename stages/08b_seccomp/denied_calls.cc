#include "stages/08b_seccomp/denied_calls.h"

#include <fmt/format.h>
#include <poll.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <fstream>
#include <tuple>

#include "common/check.h"

namespace box {
namespace {

// Made before the filter is installed, which may forbid what allocating memory takes.
const std::string kListener = "the filter's listener";

constexpr std::uint32_t kNoSuchCall = SECCOMP_RET_ERRNO | ENOSYS;

bool is_errno(std::uint32_t action) {
  return (action & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_ERRNO && action != kNoSuchCall;
}

std::string name_of_call(const seccomp_data& call) {
  char* name = seccomp_syscall_resolve_num_arch(call.arch, call.nr);
  std::string text = name == nullptr ? std::to_string(call.nr) : name;
  std::free(name);
  return text;
}

// The name of the program that made the call.
std::string name_of_process(pid_t process) {
  std::string name;
  std::getline(std::ifstream("/proc/" + std::to_string(process) + "/comm"), name);
  return name;
}

void report_and_deny(int listener, const BpfProgram& program) {
  // The kernel's structures may be larger than those that we were compiled with.
  struct {
    seccomp_notif call;
    char more[128];
  } request = {};
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &request) == -1)
    return;  // it was killed in the meantime
  const auto error = static_cast<int>(evaluate(program, request.call.data) & SECCOMP_RET_DATA);
  trace(fmt::format("{}() = {}, called by {}", name_of_call(request.call.data),
                    strerrorname_np(error), name_of_process(static_cast<pid_t>(request.call.pid))));
  struct {
    seccomp_notif_resp response;
    char more[128];
  } reply = {{request.call.id, 0, -error, 0}, {}};
  // ENOENT: the process was killed in the meantime. Otherwise it would wait for ever, but not if we
  // end.
  if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &reply) == -1 && errno != ENOENT) _exit(1);
}

[[noreturn]] void report_all(const FdChannel& channel, const BpfProgram& program) {
  FdChannel::Message message;
  try {
    (void)channel.receive(message);
  } catch (const Failure& failure) {
    trace(failure.what());
  }
  const UniqueFd& listener = message.fd;
  pollfd event = {listener.get(), POLLIN, 0};
  while (listener.get() != -1) {
    if (TEMP_FAILURE_RETRY(poll(&event, 1, -1)) == -1) _exit(1);  // ~DeniedCalls() reports it
    if ((event.revents & POLLIN) == 0) break;  // the last process with this filter has ended
    report_and_deny(listener.get(), program);
  }
  _exit(0);
}

}  // namespace

DeniedCalls::DeniedCalls(const BpfProgram& program) {
  if (!tracing() || program.empty()) return;
  FdChannel at_reporter;
  std::tie(channel_, at_reporter) = FdChannel::make();
  const pid_t parent = getpid();
  reporter_ = check_quietly(fork(), "fork()");
  if (reporter_ != 0) return;

  // Ctrl-C is meant for the command, and calls that are denied until it ends must still be
  // reported.
  sigset_t all;
  sigfillset(&all);
  (void)sigprocmask(SIG_SETMASK, &all, nullptr);
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(0);
  channel_.close();
  trace_as("denied");
  report_all(at_reporter, program);
}

DeniedCalls::~DeniedCalls() {
  if (reporter_ <= 0) return;
  int status = 0;
  if (waitpid(reporter_, &status, WNOHANG) == 0) {
    (void)kill(reporter_, SIGKILL);
    (void)waitpid(reporter_, nullptr, 0);
  } else if (status != 0 && std::uncaught_exceptions() == 0) {
    const std::string how = WIFSIGNALED(status)
                                ? fmt::format("was killed by SIG{}", sigabbrev_np(WTERMSIG(status)))
                                : "failed";
    warn(fmt::format("the reporter of denied calls {}; from then on such calls failed with ENOSYS",
                     how),
         "");
  }
}

void DeniedCalls::send_to_reporter(int listener) const { channel_.send(kListener, listener); }

BpfProgram with_listener(BpfProgram program) {
  for (auto& instruction : program) {
    if (instruction.code == (BPF_RET | BPF_K) && is_errno(instruction.k)) {
      instruction.k = SECCOMP_RET_USER_NOTIF;
    }
  }
  return program;
}

}  // namespace box
