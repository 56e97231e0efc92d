#include "harness/faults/inject/registers.h"

#include <elf.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>

#include <utility>

namespace box {
namespace {

#if defined(__x86_64__)
using Set = user_regs_struct;
unsigned long long& result_of(Set& set) { return set.rax; }
unsigned long long& argument_of(Set& set, Argument argument) {
  return argument == Argument::kFirst ? set.rdi : set.rdx;
}
#elif defined(__i386__)
using Set = user_regs_struct;
long& result_of(Set& set) { return set.eax; }
long& argument_of(Set& set, Argument argument) {
  return argument == Argument::kFirst ? set.ebx : set.edx;
}
#elif defined(__aarch64__)
using Set = user_regs_struct;
unsigned long long& result_of(Set& set) { return set.regs[0]; }
unsigned long long& argument_of(Set& set, Argument argument) {
  return set.regs[argument == Argument::kFirst ? 0 : 2];
}
#else
#error "the registers of this machine's system calls are not known here"
#endif

// Ignores a process that has ended: SIGKILL ends it even while it is stopped.
template <typename Value, typename Action>
void change(pid_t process, int kind, const Action& action) {
  Value value = {};
  iovec part = {&value, sizeof value};
  if (ptrace(PTRACE_GETREGSET, process, kind, &part) == -1) return;
  action(value);
  (void)ptrace(PTRACE_SETREGSET, process, kind, &part);
}

}  // namespace

void skip_call(pid_t process) {
#if defined(__x86_64__)
  change<Set>(process, NT_PRSTATUS,
              [](Set& set) { set.orig_rax = static_cast<unsigned long>(-1); });
#elif defined(__i386__)
  change<Set>(process, NT_PRSTATUS, [](Set& set) { set.orig_eax = -1; });
#else
  change<int>(process, NT_ARM_SYSTEM_CALL, [](int& number) { number = -1; });
#endif
}

void set_result(pid_t process, long result) {
  change<Set>(process, NT_PRSTATUS,
              [&](Set& set) { result_of(set) = static_cast<unsigned long>(result); });
}

unsigned long exchange_argument(pid_t process, Argument argument, unsigned long value) {
  unsigned long old = value;
  change<Set>(process, NT_PRSTATUS,
              [&](Set& set) { old = std::exchange(argument_of(set, argument), value); });
  return old;
}

}  // namespace box
