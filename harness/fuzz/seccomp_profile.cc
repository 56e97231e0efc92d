// Stage 08b: a profile in Docker's JSON format, through to the program that the kernel gets.
#include "stages/08b_seccomp/profile.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include <algorithm>

#include "harness/fuzz/fuzz.h"

namespace {

using box::fuzz::accepted;
using box::fuzz::require;

bool same(const sock_filter& a, const sock_filter& b) {
  return a.code == b.code && a.jt == b.jt && a.jf == b.jf && a.k == b.k;
}

bool is_action(std::uint32_t result) {
  switch (result & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_KILL_PROCESS:
    case SECCOMP_RET_KILL_THREAD:
    case SECCOMP_RET_TRAP:
    case SECCOMP_RET_ERRNO:
    case SECCOMP_RET_TRACE:
    case SECCOMP_RET_LOG:
    case SECCOMP_RET_ALLOW:
      return true;
    default:
      return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string json(box::fuzz::text_of(data, size));
  const auto compile = [&] { return box::compile_profile(json, box::default_capabilities()); };
  const auto program = accepted(compile);
  if (!program) return 0;
  require(!program->empty() && program->size() <= BPF_MAXINSNS, "the kernel takes its length");
  const auto again = accepted(compile);
  require(again && std::equal(program->begin(), program->end(), again->begin(), again->end(), same),
          "a profile compiled twice gives the same program");

  constexpr std::uint32_t kArchitectures[] = {AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, 0};
  for (const std::uint32_t architecture : kArchitectures) {
    for (const int number : {-1, 0, 1, 59, 101, 435, 462, 1000, 0x40000000, 0x40000001}) {
      for (const std::uint64_t argument : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
        seccomp_data call = {
            .nr = number, .arch = architecture, .instruction_pointer = 0, .args = {}};
        std::fill(std::begin(call.args), std::end(call.args), argument);
        const std::uint32_t result = box::evaluate(*program, call);
        require(is_action(result), "every call ends in an action");
        if (architecture == 0) {
          require(result == SECCOMP_RET_KILL_PROCESS, "an unknown architecture is killed");
        }
      }
    }
  }
  return 0;
}
