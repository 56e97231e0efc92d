#include "stages/11_oci/device_rules.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>

#include "common/check.h"
#include "common/unique_fd.h"

namespace box {
namespace {

bpf_insn instruction(int code, int to, int from, int offset, std::int64_t value) {
  bpf_insn insn = {};
  insn.code = static_cast<std::uint8_t>(code);
  insn.dst_reg = static_cast<std::uint8_t>(to) & 0xf;
  insn.src_reg = static_cast<std::uint8_t>(from) & 0xf;
  insn.off = static_cast<std::int16_t>(offset);
  insn.imm = static_cast<std::int32_t>(value);
  return insn;
}

// The registers of the program: 1 has the context, bpf_cgroup_dev_ctx.
constexpr int kContext = 1;
constexpr int kType = 2;
constexpr int kAccess = 3;
constexpr int kMajor = 4;
constexpr int kMinor = 5;
constexpr int kScratch = 0;

bpf_insn load(int to, std::size_t offset) {
  return instruction(BPF_LDX | BPF_MEM | BPF_W, to, kContext, static_cast<int>(offset), 0);
}

// access_type has the access in its upper and the type of device in its lower half.
std::vector<bpf_insn> prologue() {
  constexpr int kHalf = 16;
  return {
      load(kType, offsetof(bpf_cgroup_dev_ctx, access_type)),
      load(kAccess, offsetof(bpf_cgroup_dev_ctx, access_type)),
      load(kMajor, offsetof(bpf_cgroup_dev_ctx, major)),
      load(kMinor, offsetof(bpf_cgroup_dev_ctx, minor)),
      instruction(BPF_ALU | BPF_AND | BPF_K, kType, 0, 0, 0xffff),
      instruction(BPF_ALU | BPF_RSH | BPF_K, kAccess, 0, 0, kHalf),
  };
}

std::uint32_t access_of(const DeviceRule& rule) {
  return (rule.read ? unsigned{BPF_DEVCG_ACC_READ} : 0) |
         (rule.write ? unsigned{BPF_DEVCG_ACC_WRITE} : 0) |
         (rule.make ? unsigned{BPF_DEVCG_ACC_MKNOD} : 0);
}

// If the call is what the rule is about, returns its verdict; otherwise goes on behind it.
std::vector<bpf_insn> block(const DeviceRule& rule) {
  std::vector<bpf_insn> code;
  std::vector<std::size_t> jumps;  // to what comes after
  const auto jump_if_other = [&](int reg, std::uint32_t value) {
    jumps.push_back(code.size());
    code.push_back(instruction(BPF_JMP32 | BPF_JNE | BPF_K, reg, 0, 0, value));
  };
  if (rule.type != 'a') {
    jump_if_other(kType, rule.type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK);
  }
  constexpr std::uint32_t kAll = BPF_DEVCG_ACC_READ | BPF_DEVCG_ACC_WRITE | BPF_DEVCG_ACC_MKNOD;
  if (const std::uint32_t access = access_of(rule); access != kAll) {
    code.push_back(instruction(BPF_ALU | BPF_MOV | BPF_X, kScratch, kAccess, 0, 0));
    if (rule.allow) {
      // It allows a call that asks for nothing else.
      code.push_back(instruction(BPF_ALU | BPF_AND | BPF_K, kScratch, 0, 0, kAll & ~access));
      jump_if_other(kScratch, 0);
    } else {
      // It denies a call that asks for any of these.
      code.push_back(instruction(BPF_ALU | BPF_AND | BPF_K, kScratch, 0, 0, access));
      jumps.push_back(code.size());
      code.push_back(instruction(BPF_JMP32 | BPF_JEQ | BPF_K, kScratch, 0, 0, 0));
    }
  }
  if (rule.major) jump_if_other(kMajor, *rule.major);
  if (rule.minor) jump_if_other(kMinor, *rule.minor);
  code.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_K, kScratch, 0, 0, rule.allow ? 1 : 0));
  code.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  for (const std::size_t at : jumps) {
    code[at].off = static_cast<std::int16_t>(code.size() - at - 1);
  }
  return code;
}

int bpf(bpf_cmd command, bpf_attr& attributes) {
  return static_cast<int>(syscall(SYS_bpf, command, &attributes, sizeof attributes));
}

}  // namespace

std::vector<DeviceRule> default_device_rules() {
  const auto rule = [](char type, std::optional<std::uint32_t> major,
                       std::optional<std::uint32_t> minor,
                       bool use) { return DeviceRule{true, type, major, minor, use, use, true}; };
  constexpr std::uint32_t kMemory = 1;
  constexpr std::uint32_t kTerminals = 5;
  constexpr std::uint32_t kPts = 136;
  // To make a node of any device is harmless, because it cannot be opened.
  return {rule('c', {}, {}, false),       rule('b', {}, {}, false),
          rule('c', kMemory, 3, true),    rule('c', kMemory, 5, true),
          rule('c', kMemory, 7, true),    rule('c', kMemory, 8, true),
          rule('c', kMemory, 9, true),    rule('c', kTerminals, 0, true),
          rule('c', kTerminals, 1, true), rule('c', kTerminals, 2, true),
          rule('c', kPts, {}, true)};
}

std::vector<bpf_insn> device_program(const std::vector<DeviceRule>& rules) {
  std::vector<bpf_insn> program = prologue();
  for (auto rule = rules.rbegin(); rule != rules.rend(); ++rule) {
    const auto code = block(*rule);
    program.insert(program.end(), code.begin(), code.end());
    const bool decides_all = rule->type == 'a' && !rule->major && !rule->minor && rule->read &&
                             rule->write && rule->make;
    if (decides_all) return program;  // the kernel refuses instructions that are never reached
  }
  program.push_back(instruction(BPF_ALU64 | BPF_MOV | BPF_K, kScratch, 0, 0, 0));
  program.push_back(instruction(BPF_JMP | BPF_EXIT, 0, 0, 0, 0));
  return program;
}

void attach_device_program(const std::string& path, const std::vector<DeviceRule>& rules) {
  const std::vector<bpf_insn> program = device_program(rules);
  bpf_attr attributes = {};
  attributes.prog_type = BPF_PROG_TYPE_CGROUP_DEVICE;
  attributes.insns = reinterpret_cast<std::uint64_t>(program.data());
  attributes.insn_cnt = static_cast<std::uint32_t>(program.size());
  attributes.license = reinterpret_cast<std::uint64_t>("GPL");
  const UniqueFd loaded(check(bpf(BPF_PROG_LOAD, attributes),
                              "bpf(PROG_LOAD, CGROUP_DEVICE, {} instructions)", program.size()));
  const UniqueFd cgroup(
      check_quietly(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open({})", path));
  attributes = {};
  attributes.target_fd = static_cast<std::uint32_t>(cgroup.get());
  attributes.attach_bpf_fd = static_cast<std::uint32_t>(loaded.get());
  attributes.attach_type = BPF_CGROUP_DEVICE;
  // Programs of cgroups above and below this one decide, too: each has to allow a call.
  attributes.attach_flags = BPF_F_ALLOW_MULTI;
  check(bpf(BPF_PROG_ATTACH, attributes), "bpf(PROG_ATTACH, {}, CGROUP_DEVICE)", path);
}

}  // namespace box
