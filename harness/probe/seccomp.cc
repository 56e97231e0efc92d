// Stage 08b: system calls, made without a library, and a set-user-ID program.

#include "harness/probe/probe.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

// The outcome of a call: "ok", the errno, or "killed" for SIGSYS, which a filter may send. The call
// is made in a process and a session of its own, so that its effects end with it.
template <typename Call>
const char* outcome_of(const Call& call) {
  int ends[2];
  if (pipe(ends) == -1) return "?";
  const pid_t child = fork();
  if (child == 0) {
    (void)setsid();
    const int error = call() == -1 ? errno : 0;
    (void)!write(ends[1], &error, sizeof error);
    _exit(0);
  }
  close(ends[1]);
  int error = 0;
  const bool told = read(ends[0], &error, sizeof error) == sizeof error;
  close(ends[0]);
  int status = 0;
  if (child == -1 || waitpid(child, &status, 0) == -1) return "?";
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGSYS ? "killed" : "crashed";
  if (!told) return "?";
  return error == 0 ? "ok" : strerrorname_np(error);
}

// A list of "NAME=OUTCOME".
class Outcomes {
 public:
  void add(const char* name, const char* outcome) {
    if (count_ == kMost) return;
    (void)!asprintf(&texts_[count_++], "%s=%s", name, outcome);
  }
  void tell(Answer& answer) { answer.add_list("outcomes", texts_, count_); }

 private:
  static constexpr int kMost = 128;
  char* texts_[kMost] = {};
  int count_ = 0;
};

// The half of an argument that the kernel ignores. A 32-bit processor has none.
constexpr long high_half(long value) {
  return sizeof(long) == 8 ? static_cast<long>(static_cast<uint64_t>(value) << 32) : 0;
}

struct NamedCall {
  const char* name;
  long number;
};

// Calls that a container does not need. If all arguments are 1, which is not a valid pointer, flag
// or file, each of them fails harmlessly, or changes only its own process.
constexpr NamedCall kForbidden[] = {
#ifdef SYS_iopl  // only processors of PCs have these
    {"iopl", SYS_iopl},
    {"ioperm", SYS_ioperm},
#endif
#ifdef SYS_sysfs  // only older processors have these
    {"sysfs", SYS_sysfs},
    {"ustat", SYS_ustat},
#endif
    {"acct", SYS_acct},
    {"add_key", SYS_add_key},
    {"bpf", SYS_bpf},
    {"clock_settime", SYS_clock_settime},
    {"delete_module", SYS_delete_module},
    {"fanotify_init", SYS_fanotify_init},
    {"finit_module", SYS_finit_module},
    {"fsconfig", SYS_fsconfig},
    {"fsmount", SYS_fsmount},
    {"fsopen", SYS_fsopen},
    {"fspick", SYS_fspick},
    {"get_mempolicy", SYS_get_mempolicy},
    {"init_module", SYS_init_module},
    {"io_uring_enter", SYS_io_uring_enter},
    {"io_uring_register", SYS_io_uring_register},
    {"io_uring_setup", SYS_io_uring_setup},
    {"kcmp", SYS_kcmp},
#ifdef SYS_kexec_file_load  // only processors of 64 bits have it
    {"kexec_file_load", SYS_kexec_file_load},
#endif
    {"kexec_load", SYS_kexec_load},
    {"keyctl", SYS_keyctl},
    {"lookup_dcookie", SYS_lookup_dcookie},
    {"mbind", SYS_mbind},
    {"migrate_pages", SYS_migrate_pages},
    {"mount", SYS_mount},
    {"mount_setattr", SYS_mount_setattr},
    {"move_mount", SYS_move_mount},
    {"move_pages", SYS_move_pages},
    {"open_by_handle_at", SYS_open_by_handle_at},
    {"open_tree", SYS_open_tree},
    {"perf_event_open", SYS_perf_event_open},
    {"pidfd_getfd", SYS_pidfd_getfd},
    {"pivot_root", SYS_pivot_root},
    {"process_madvise", SYS_process_madvise},
    {"quotactl", SYS_quotactl},
    {"reboot", SYS_reboot},
    {"request_key", SYS_request_key},
    {"set_mempolicy", SYS_set_mempolicy},
    {"setdomainname", SYS_setdomainname},
    {"sethostname", SYS_sethostname},
    {"setns", SYS_setns},
    {"settimeofday", SYS_settimeofday},
    {"swapoff", SYS_swapoff},
    {"swapon", SYS_swapon},
    {"syslog", SYS_syslog},
    {"umount2", SYS_umount2},
    {"userfaultfd", SYS_userfaultfd},
    {"vhangup", SYS_vhangup},
};

void do_forbidden_calls(const Verb&, Answer& answer) {
  Outcomes outcomes;
  for (const auto& [name, number] : kForbidden) {
    outcomes.add(name, outcome_of([number = number] { return syscall(number, 1, 1, 1, 1, 1, 1); }));
  }
  // ADDR_NO_RANDOMIZE: an exploit need not guess addresses any more.
  outcomes.add("personality", outcome_of([] { return syscall(SYS_personality, 0x40000); }));
  outcomes.tell(answer);
}

// The numbers of x32 are those of x86-64 with an extra bit. A filter that lists only the latter
// does not match them.
void do_x32_calls(const Verb&, Answer& answer) {
  Outcomes outcomes;
#ifdef __x86_64__
  constexpr long kX32 = 0x40000000;
  for (const auto& [name, number] : kForbidden) {
    outcomes.add(
        name, outcome_of([number = number] { return syscall(kX32 | number, 1, 1, 1, 1, 1, 1); }));
  }
  outcomes.add("getpid", outcome_of([] { return syscall(kX32 | SYS_getpid); }));
#endif
  outcomes.tell(answer);
}

// Calls of a 32-bit program, which a 64-bit one can make as well, with other numbers.
void do_int80_calls(const Verb&, Answer& answer) {
  Outcomes outcomes;
#ifdef __x86_64__
  constexpr NamedCall k32Bit[] = {{"getpid", 20},  {"mount", 21},       {"umount2", 52},
                                  {"keyctl", 288}, {"unshare", 310},    {"setns", 346},
                                  {"bpf", 357},    {"userfaultfd", 374}};
  for (const auto& [name, number] : k32Bit) {
    outcomes.add(name, outcome_of([number = number] {
                   long result = number;
                   asm volatile("int $0x80"
                                : "+a"(result)
                                : "b"(1L), "c"(1L), "d"(1L), "S"(1L), "D"(1L)
                                : "r8", "r9", "r10", "r11", "memory");
                   errno = result < 0 ? static_cast<int>(-result) : 0;
                   return result < 0 ? -1L : result;
                 }));
  }
#endif
  outcomes.tell(answer);
}

// terminal_input=HIGH: TIOCSTI on a file that is not a terminal. The kernel uses the low half of
// the request; HIGH is the other half.
void do_terminal_input(const Verb& verb, Answer& answer) {
  int ends[2];
  const long high = high_half(verb.number(0));
  answer.add_result(pipe(ends) == 0 && syscall(SYS_ioctl, ends[0], high | TIOCSTI, "x") != -1);
}

// ioctl=REQUEST,HIGH: on a pipe, which is no terminal. HIGH is the half of the request that the
// kernel ignores.
void do_ioctl(const Verb& verb, Answer& answer) {
  int ends[2];
  const long request = high_half(verb.number(1)) | verb.number(0);
  answer.add_result(pipe(ends) == 0 && syscall(SYS_ioctl, ends[0], request, "x") != -1);
}

// Address families without network namespaces, with arguments whose high half the kernel ignores.
void do_socket_families(const Verb&, Answer& answer) {
  Outcomes outcomes;
  constexpr long kHigh = high_half(5);
  constexpr NamedCall kFamilies[] = {{"AF_ALG", AF_ALG},
                                     {"AF_VSOCK", AF_VSOCK},
                                     {"AF_ALG in 64 bits", kHigh | AF_ALG},
                                     {"AF_VSOCK in 64 bits", kHigh | AF_VSOCK}};
  for (const auto& [name, family] : kFamilies) {
    outcomes.add(name, outcome_of([family = family] {
                   return syscall(SYS_socket, family, SOCK_SEQPACKET, 0);
                 }));
  }
  outcomes.tell(answer);
}

// clone(2) takes the low half of its flags. As a container's root; the child is of no use.
void do_disguised_namespaces(const Verb&, Answer& answer) {
  Outcomes outcomes;
  constexpr long kHigh = high_half(5);
  constexpr NamedCall kKinds[] = {{"user", CLONE_NEWUSER}, {"mount", CLONE_NEWNS},
                                  {"uts", CLONE_NEWUTS},   {"ipc", CLONE_NEWIPC},
                                  {"net", CLONE_NEWNET},   {"pid", CLONE_NEWPID}};
  for (const auto& [name, flag] : kKinds) {
    outcomes.add(name, outcome_of([flag = flag] {
                   const long child = syscall(SYS_clone, kHigh | flag | SIGCHLD, 0, 0, 0, 0);
                   if (child == 0) _exit(0);
                   return child;
                 }));
  }
  outcomes.tell(answer);
}

// One namespace of each other kind than the user's.
void do_other_namespaces(const Verb&, Answer& answer) {
  Outcomes outcomes;
  constexpr NamedCall kKinds[] = {{"mount", CLONE_NEWNS}, {"uts", CLONE_NEWUTS},
                                  {"ipc", CLONE_NEWIPC},  {"net", CLONE_NEWNET},
                                  {"pid", CLONE_NEWPID},  {"cgroup", CLONE_NEWCGROUP}};
  for (const auto& [name, flag] : kKinds) {
    outcomes.add(name, outcome_of([flag = flag] { return unshare(static_cast<int>(flag)); }));
  }
  outcomes.tell(answer);
}

void do_new_namespaces(const Verb&, Answer& answer) {
  Outcomes outcomes;
  outcomes.add("unshare", outcome_of([] { return unshare(CLONE_NEWUSER); }));
  outcomes.add("clone", outcome_of([] {
                 const long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
                 if (child == 0) _exit(0);
                 return child;
               }));
  outcomes.tell(answer);
}

// With a size that no kernel accepts, so it returns EINVAL if the call exists.
void do_clone3(const Verb&, Answer& answer) { answer.add_result(syscall(SYS_clone3, 0, 0) != -1); }

// call=NUMBER: with no file and no memory.
void do_call(const Verb& verb, Answer& answer) {
  answer.add_result(syscall(verb.number(0), -1, 0, 0, 0, 0, 0) != -1);
}

void do_umount(const Verb& verb, Answer& answer) {
  answer.add_result(umount2(verb.argument(0), MNT_DETACH) == 0);
}

void do_effective_user(const Verb&, Answer& answer) {
  answer.add("uid", getuid());
  answer.add("euid", geteuid());
}

// run=PATH,VERB: another probe does VERB, and replies.
void do_run(const Verb& verb, Answer& answer) {
  execl(verb.argument(0), verb.argument(0), nonce, verb.argument(1), nullptr);
  answer.add_result(false);
}

constexpr KnownVerb kVerbs[] = {
    {"forbidden_calls", do_forbidden_calls},
    {"x32_calls", do_x32_calls},
    {"int80_calls", do_int80_calls},
    {"terminal_input", do_terminal_input},
    {"socket_families", do_socket_families},
    {"new_namespaces", do_new_namespaces},
    {"disguised_namespaces", do_disguised_namespaces},
    {"other_namespaces", do_other_namespaces},
    {"ioctl", do_ioctl},
    {"clone3", do_clone3},
    {"call", do_call},
    {"umount", do_umount},
    {"effective_user", do_effective_user},
    {"run", do_run},
};

}  // namespace

std::span<const KnownVerb> seccomp_verbs() { return kVerbs; }
