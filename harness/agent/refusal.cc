#include "harness/agent/refusal.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <map>

#include "common/check.h"
#include "common/failure.h"

namespace box {
namespace {

#if defined(__x86_64__)
constexpr std::uint32_t kOwnArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__i386__)
constexpr std::uint32_t kOwnArchitecture = AUDIT_ARCH_I386;
#elif defined(__aarch64__)
constexpr std::uint32_t kOwnArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "this processor's name in seccomp(2) is not known here"
#endif

// The calls with which containers are set up.
const std::map<std::string, std::uint32_t>& numbers() {
  static const std::map<std::string, std::uint32_t> kNumbers = {
      {"capset", SYS_capset},
      {"chdir", SYS_chdir},
      {"chroot", SYS_chroot},
      {"clone", SYS_clone},
      {"clone3", SYS_clone3},
      {"close_range", SYS_close_range},
      {"fchdir", SYS_fchdir},
      {"fchown", SYS_fchown},
      {"fchownat", SYS_fchownat},
      {"fsmount", SYS_fsmount},
      {"fsopen", SYS_fsopen},
      {"keyctl", SYS_keyctl},
      {"mkdirat", SYS_mkdirat},
      {"mknodat", SYS_mknodat},
      {"mount", SYS_mount},
      {"mount_setattr", SYS_mount_setattr},
      {"move_mount", SYS_move_mount},
      {"open_tree", SYS_open_tree},
      {"openat2", SYS_openat2},
      {"pivot_root", SYS_pivot_root},
      {"prctl", SYS_prctl},
      {"seccomp", SYS_seccomp},
      {"setgid", SYS_setgid},
      {"setgroups", SYS_setgroups},
      {"sethostname", SYS_sethostname},
      {"setns", SYS_setns},
      {"setresgid", SYS_setresgid},
      {"setresuid", SYS_setresuid},
      {"setuid", SYS_setuid},
      {"symlinkat", SYS_symlinkat},
      {"umount2", SYS_umount2},
      {"unshare", SYS_unshare},
  };
  return kNumbers;
}

std::uint32_t number_of(const std::string& call) {
  const auto found = numbers().find(call);
  if (found == numbers().end()) throw Failure("this agent cannot refuse a call named " + call);
  return found->second;
}

// One call can do many things; then its first argument says which.
std::string name_of(const seccomp_data& call) {
  for (const auto& [name, number] : numbers()) {
    if (number != static_cast<std::uint32_t>(call.nr)) continue;
    const bool says_what = name == "prctl" || name == "keyctl";
    return says_what ? name + "(" + std::to_string(call.args[0]) + ")" : name;
  }
  return "call " + std::to_string(call.nr);
}

std::uint32_t offset_of_argument(int argument) {
  // Its low half, which comes first on a little-endian machine and contains flags and options.
  return static_cast<std::uint32_t>(offsetof(seccomp_data, args)) +
         static_cast<std::uint32_t>(argument) * 8;
}

enum class Action { kRefuse, kAsk };

std::vector<sock_filter> filter_of(const std::vector<Refusal>& refusals, Action action) {
  const sock_filter allow = BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
  const sock_filter load_number = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr));
  std::vector<sock_filter> filter = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kOwnArchitecture, 1, 0),
      allow,
  };
  for (const Refusal& refusal : refusals) {
    const bool looks_at_argument = refusal.argument >= 0;
    filter.push_back(load_number);
    filter.push_back(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number_of(refusal.call), 0,
                              static_cast<unsigned char>(looks_at_argument ? 3 : 1)));
    if (looks_at_argument) {
      filter.push_back(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset_of_argument(refusal.argument)));
      filter.push_back(refusal.any_of != 0
                           ? sock_filter BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, refusal.any_of, 0, 1)
                           : sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, refusal.equals, 0, 1));
    }
    filter.push_back(BPF_STMT(BPF_RET | BPF_K,
                              action == Action::kAsk
                                  ? SECCOMP_RET_USER_NOTIF
                                  : SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(refusal.error)));
  }
  filter.push_back(allow);
  return filter;
}

// Returns what seccomp(2) returns: a listener, if the flags ask for one.
int install(std::vector<sock_filter> filter, unsigned flags) {
  const sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
  const auto fd = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
  if (fd != -1) return static_cast<int>(fd);
  // Without CAP_SYS_ADMIN, a process may install a filter only with no_new_privs, so that it cannot
  // harm set-user-ID programs.
  check_quietly(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)");
  return static_cast<int>(
      check_quietly(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program), "seccomp()"));
}

}  // namespace

void refuse(const std::vector<Refusal>& refusals) {
  (void)install(filter_of(refusals, Action::kRefuse), 0);
}

UniqueFd ask_before(const std::vector<Refusal>& refusals) {
  return UniqueFd(install(filter_of(refusals, Action::kAsk), SECCOMP_FILTER_FLAG_NEW_LISTENER));
}

void NthCall::decide() {
  while (listener_.get() != -1) {
    pollfd event = {listener_.get(), POLLIN, 0};
    if (poll(&event, 1, 0) <= 0) return;
    if ((event.revents & POLLIN) == 0) {  // POLLHUP: the last process has ended
      listener_.close();
      return;
    }
    seccomp_notif call = {};  // the kernel wants zeros, and may fail if the process was killed
    if (ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_RECV, &call) == -1) return;
    calls_.push_back(name_of(call.data));
    seccomp_notif_resp answer = {};
    answer.id = call.id;
    if (calls_.back() == name_ && std::count(calls_.begin(), calls_.end(), name_) == nth_) {
      answer.error = -EPERM;
    } else {
      answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    }
    (void)ioctl(listener_.get(), SECCOMP_IOCTL_NOTIF_SEND, &answer);
  }
}

}  // namespace box
