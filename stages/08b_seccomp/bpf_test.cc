#include "stages/08b_seccomp/bpf.h"

#include <gtest/gtest.h>

#include <cstddef>

#include "common/failure.h"

namespace box {
namespace {

constexpr seccomp_data kCall = {7, 9, 0, {0xf0, 0, 0, 0, 0, 0}};

TEST(Evaluate, LoadsComparesAndJumps) {
  const auto answer = [](std::uint16_t jump, std::uint32_t k) {
    return evaluate({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                     BPF_JUMP(static_cast<std::uint16_t>(BPF_JMP | jump | BPF_K), k, 1, 0),
                     BPF_STMT(BPF_RET | BPF_K, 0), BPF_STMT(BPF_RET | BPF_K, 1)},
                    kCall);
  };
  EXPECT_EQ(answer(BPF_JEQ, 7), 1U);
  EXPECT_EQ(answer(BPF_JEQ, 8), 0U);
  EXPECT_EQ(answer(BPF_JGT, 6), 1U);
  EXPECT_EQ(answer(BPF_JGT, 7), 0U);
  EXPECT_EQ(answer(BPF_JGE, 7), 1U);
  EXPECT_EQ(answer(BPF_JSET, 2), 1U);
  EXPECT_EQ(answer(BPF_JSET, 8), 0U);
  EXPECT_EQ(answer(BPF_JA, 1), 1U);
}

TEST(Evaluate, LoadsTheLastFourBytes) {
  EXPECT_EQ(evaluate({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, sizeof kCall - 4),
                      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), BPF_STMT(BPF_RET | BPF_K, 1),
                      BPF_STMT(BPF_RET | BPF_K, 0)},
                     kCall),
            1U);
}

TEST(Evaluate, Masks) {
  EXPECT_EQ(evaluate({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args)),
                      BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x50),
                      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x50, 0, 1), BPF_STMT(BPF_RET | BPF_K, 1),
                      BPF_STMT(BPF_RET | BPF_K, 0)},
                     kCall),
            1U);
}

TEST(Evaluate, RefusesWhatItDoesNotKnow) {
  EXPECT_THROW((void)evaluate({}, kCall), Failure);
  EXPECT_THROW((void)evaluate({BPF_STMT(BPF_MISC | BPF_TAX, 0)}, kCall), Failure);
  EXPECT_THROW((void)evaluate({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 1000)}, kCall), Failure);
  EXPECT_THROW((void)evaluate({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, sizeof kCall - 3),
                               BPF_STMT(BPF_RET | BPF_K, 0)},
                              kCall),
               Failure);
  EXPECT_THROW((void)evaluate({BPF_JUMP(BPF_JMP | BPF_JA, 5, 0, 0)}, kCall), Failure);
}

TEST(IsWhole, EachEndThatIsCutOffIsMissed) {
  BpfProgram program = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 1, 0, 2),
      BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  EXPECT_TRUE(is_whole(program));
  while (!program.empty()) {
    program.pop_back();
    EXPECT_FALSE(is_whole(program)) << program.size();
  }
}

}  // namespace
}  // namespace box
