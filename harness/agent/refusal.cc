#include "harness/agent/refusal.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <map>

#include "common/check.h"
#include "common/failure.h"

namespace box {
namespace {

#ifdef __x86_64__
constexpr std::uint32_t kOwnArchitecture = AUDIT_ARCH_X86_64;
#else
constexpr std::uint32_t kOwnArchitecture = AUDIT_ARCH_AARCH64;
#endif

// The calls with which containers are set up.
std::uint32_t number_of(const std::string& call) {
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
  const auto found = kNumbers.find(call);
  if (found == kNumbers.end()) throw Failure("this agent cannot refuse a call named " + call);
  return found->second;
}

std::uint32_t offset_of_argument(int argument) {
  // Its low half, which comes first on a little-endian machine and contains flags and options.
  return static_cast<std::uint32_t>(offsetof(seccomp_data, args)) +
         static_cast<std::uint32_t>(argument) * 8;
}

std::vector<sock_filter> filter_of(const std::vector<Refusal>& refusals) {
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
    filter.push_back(
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<std::uint32_t>(refusal.error)));
  }
  filter.push_back(allow);
  return filter;
}

}  // namespace

void refuse(const std::vector<Refusal>& refusals) {
  std::vector<sock_filter> filter = filter_of(refusals);
  const sock_fprog program = {static_cast<unsigned short>(filter.size()), filter.data()};
  if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0) return;
  // A user other than root may install a filter only with no_new_privs, so that it cannot harm
  // set-user-ID programs.
  check_quietly(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)");
  check_quietly(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), "prctl(PR_SET_SECCOMP)");
}

}  // namespace box
