#include "stages/08b_seccomp/bpf.h"

#include <algorithm>
#include <cstring>

#include "common/failure.h"

namespace box {
namespace {

bool holds(std::uint16_t jump, std::uint32_t a, std::uint32_t k) {
  switch (BPF_OP(jump)) {
    case BPF_JEQ:
      return a == k;
    case BPF_JGT:
      return a > k;
    case BPF_JGE:
      return a >= k;
    case BPF_JSET:
      return (a & k) != 0;
    default:
      throw Failure("a BPF jump that seccomp filters do not have");
  }
}

}  // namespace

std::uint32_t evaluate(const BpfProgram& program, const seccomp_data& call) {
  std::uint32_t a = 0;
  for (std::size_t at = 0; at < program.size(); ++at) {
    const auto& [code, jump_true, jump_false, k] = program[at];
    if (code == (BPF_LD | BPF_W | BPF_ABS) && k <= sizeof call - sizeof a) {
      std::memcpy(&a, reinterpret_cast<const char*>(&call) + k, sizeof a);
    } else if (code == (BPF_ALU | BPF_AND | BPF_K)) {
      a &= k;
    } else if (code == (BPF_JMP | BPF_JA)) {
      at += k;
    } else if (BPF_CLASS(code) == BPF_JMP && BPF_SRC(code) == BPF_K) {
      at += holds(code, a, k) ? jump_true : jump_false;
    } else if (code == (BPF_RET | BPF_K)) {
      return k;
    } else {
      throw Failure("a BPF instruction that seccomp filters do not have");
    }
  }
  throw Failure("a BPF program without an end");
}

bool is_whole(const BpfProgram& program) {
  for (std::size_t at = 0; at < program.size(); ++at) {
    const auto& [code, jump_true, jump_false, k] = program[at];
    if (BPF_CLASS(code) != BPF_JMP) continue;
    const std::size_t farthest = BPF_OP(code) == BPF_JA ? k : std::max(jump_true, jump_false);
    if (farthest >= program.size() - at - 1) return false;
  }
  return !program.empty() && BPF_CLASS(program.back().code) == BPF_RET;
}

}  // namespace box
