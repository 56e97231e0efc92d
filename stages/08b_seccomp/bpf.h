// A seccomp filter: a program of classic BPF that the kernel runs at each system call.
#pragma once

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstdint>
#include <vector>

namespace box {

using BpfProgram = std::vector<sock_filter>;

// Runs `program` as the kernel would, see seccomp(2), and returns one of SECCOMP_RET_*, with its
// data. Throws Failure at an instruction that libseccomp's filters do not contain.
[[nodiscard]] std::uint32_t evaluate(const BpfProgram& program, const seccomp_data& call);

// Whether the kernel would accept `program` as complete: it is not empty, its last instruction
// returns, and each jump leads to an instruction of it.
[[nodiscard]] bool is_whole(const BpfProgram& program);

}  // namespace box
