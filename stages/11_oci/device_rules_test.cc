#include "stages/11_oci/device_rules.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace box {
namespace {

// Runs the program as the kernel would, for the instructions that it consists of.
bool allows(const std::vector<DeviceRule>& rules, char type, std::uint32_t major,
            std::uint32_t minor, std::uint32_t access) {
  const auto program = device_program(rules);
  const std::uint32_t context[] = {
      access << 16 | (type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK), major, minor};
  std::uint32_t registers[11] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};  // until it has set them
  for (std::size_t i = 0; i < program.size(); ++i) {
    const bpf_insn& insn = program[i];
    std::uint32_t& to = registers[insn.dst_reg];
    const auto value = static_cast<std::uint32_t>(insn.imm);
    switch (insn.code) {
      case BPF_LDX | BPF_MEM | BPF_W:
        to = context[insn.off / 4];
        break;
      case BPF_ALU | BPF_AND | BPF_K:
        to &= value;
        break;
      case BPF_ALU | BPF_RSH | BPF_K:
        to >>= value;
        break;
      case BPF_ALU | BPF_MOV | BPF_X:
        to = registers[insn.src_reg];
        break;
      case BPF_ALU64 | BPF_MOV | BPF_K:
        to = value;
        break;
      case BPF_JMP32 | BPF_JNE | BPF_K:
        i += to != value ? static_cast<std::size_t>(insn.off) : 0;
        break;
      case BPF_JMP32 | BPF_JEQ | BPF_K:
        i += to == value ? static_cast<std::size_t>(insn.off) : 0;
        break;
      case BPF_JMP | BPF_EXIT:
        return registers[0] == 1;
      default:
        ADD_FAILURE() << "instruction " << i << " has code " << int{insn.code};
        return false;
    }
  }
  ADD_FAILURE() << "the program has no end";
  return false;
}

constexpr std::uint32_t kRead = BPF_DEVCG_ACC_READ;
constexpr std::uint32_t kWrite = BPF_DEVCG_ACC_WRITE;
constexpr std::uint32_t kMake = BPF_DEVCG_ACC_MKNOD;

TEST(DeviceProgramTest, TheLastRuleThatMatchesDecides) {
  const std::vector<DeviceRule> rules = {
      {false, 'a', {}, {}, true, true, true},
      {true, 'c', 10, {}, true, true, false},
      {false, 'c', 10, 7, true, true, true},
      {true, 'b', 8, 1, true, false, false},
  };
  EXPECT_TRUE(allows(rules, 'c', 10, 3, kRead | kWrite));
  EXPECT_FALSE(allows(rules, 'c', 10, 3, kRead | kMake)) << "the rule does not allow to make it";
  EXPECT_FALSE(allows(rules, 'c', 10, 7, kRead));
  EXPECT_FALSE(allows(rules, 'b', 10, 3, kRead)) << "another type";
  EXPECT_TRUE(allows(rules, 'b', 8, 1, kRead));
  EXPECT_FALSE(allows(rules, 'b', 8, 1, kWrite));
  EXPECT_FALSE(allows(rules, 'b', 8, 2, kRead));
  EXPECT_FALSE(allows({}, 'c', 1, 3, kRead)) << "without rules nothing is allowed";
}

TEST(DeviceProgramTest, WhoMayUseADeviceMayNotMakeIt) {
  for (const bool read : {true, false}) {
    const std::vector<DeviceRule> rules = {{true, 'c', 10, {}, read, !read, false}};
    EXPECT_TRUE(allows(rules, 'c', 10, 3, read ? kRead : kWrite));
    EXPECT_FALSE(allows(rules, 'c', 10, 3, read ? kWrite : kRead));
    EXPECT_FALSE(allows(rules, 'c', 10, 3, kMake));
  }
}

TEST(DeviceProgramTest, ThePartOfADenialThatMatches) {
  const std::vector<DeviceRule> rules = {{true, 'a', {}, {}, true, true, true},
                                         {false, 'c', 1, {}, false, true, false}};
  EXPECT_TRUE(allows(rules, 'c', 1, 3, kRead));
  EXPECT_FALSE(allows(rules, 'c', 1, 3, kRead | kWrite));
}

TEST(DeviceProgramTest, EveryContainerHasItsDevices) {
  auto rules = std::vector<DeviceRule>{{false, 'a', {}, {}, true, true, true}};
  const auto more = default_device_rules();
  rules.insert(rules.end(), more.begin(), more.end());
  EXPECT_TRUE(allows(rules, 'c', 1, 3, kRead | kWrite));
  for (const auto& [major, minor] : std::vector<std::pair<std::uint32_t, std::uint32_t>>{
           {1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}, {136, 9}}) {
    EXPECT_TRUE(allows(rules, 'c', major, minor, kRead | kWrite | kMake)) << major << ":" << minor;
  }
  EXPECT_TRUE(allows(rules, 'b', 8, 0, kMake));
  EXPECT_FALSE(allows(rules, 'b', 8, 0, kRead));
  EXPECT_FALSE(allows(rules, 'c', 1, 1, kRead)) << "/dev/mem";
}

}  // namespace
}  // namespace box
