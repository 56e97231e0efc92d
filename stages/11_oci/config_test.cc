#include "stages/11_oci/config.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "common/json_node.h"

namespace box {
namespace {

class ConfigTest : public testing::Test {
 protected:
  ConfigTest() : bundle_(testing::TempDir() + "/bundle") {
    std::filesystem::create_directories(bundle_ + "/rootfs");
    config_ = Json::parse(R"({
      "ociVersion": "1.2.0",
      "root": {"path": "rootfs"},
      "process": {"args": ["sh"], "cwd": "/"},
      "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}]}
    })");
  }

  [[nodiscard]] Config parse() const { return parse_config(config_.dump(), bundle_); }

  [[nodiscard]] std::string refusal() const {
    try {
      (void)parse();
      return "nothing is refused";
    } catch (const Failure& failure) {
      return failure.what();
    }
  }

  std::string bundle_;
  Json config_;
};

TEST_F(ConfigTest, TheLeastThatIsPossible) {
  const Config config = parse();
  EXPECT_EQ(std::filesystem::canonical(bundle_ + "/rootfs").string(), config.rootfs);
  EXPECT_EQ(static_cast<std::uint64_t>(CLONE_NEWNS) | CLONE_NEWPID, config.new_namespaces);
  EXPECT_EQ(std::vector<std::string>{"sh"}, config.process->args);
  EXPECT_EQ(0U, config.process->capabilities.bounding);
  EXPECT_TRUE(config.unknown.empty());
}

TEST_F(ConfigTest, NullMeansMissing) {
  for (const char* key : {"mounts", "hooks", "annotations", "hostname", "windows"}) {
    config_[key] = nullptr;
  }
  config_["linux"]["resources"] = {{"memory", nullptr}, {"devices", nullptr}};
  EXPECT_TRUE(parse().mounts.empty());
}

TEST_F(ConfigTest, UnknownPropertiesAreListed) {
  config_["future"] = 1;
  config_["process"]["user"] = {{"uid", 3}, {"shoe", 44}};
  EXPECT_EQ((std::vector<std::string>{"future", "process.user.shoe"}), parse().unknown);
}

TEST_F(ConfigTest, Capabilities) {
  config_["process"]["capabilities"] = {{"bounding", {"CAP_KILL", "CAP_CHOWN"}},
                                        {"permitted", {"CAP_KILL"}}};
  const ProcessCapabilities sets = parse().process->capabilities;
  EXPECT_EQ(bit_of(CAP_KILL) | bit_of(CAP_CHOWN), sets.bounding);
  EXPECT_EQ(bit_of(CAP_KILL), sets.permitted);
  config_["process"]["capabilities"]["ambient"] = {"CAP_KILL"};
  EXPECT_EQ(0U, parse().process->capabilities.ambient);  // podman build
  config_["process"]["capabilities"]["inheritable"] = {"CAP_KILL", "CAP_CHOWN"};
  EXPECT_EQ(bit_of(CAP_KILL), parse().process->capabilities.ambient);
  config_["process"]["capabilities"]["effective"] = {"CAP_CHOWN"};
  EXPECT_EQ("process.capabilities.effective: contains what permitted does not", refusal());
}

TEST_F(ConfigTest, MountOptions) {
  config_["mounts"] = {
      {{"destination", "/dev/shm"},
       {"type", "tmpfs"},
       {"source", "shm"},
       {"options", {"nosuid", "noatime", "rro", "size=64k", "mode=1777", "rslave", "tmpcopyup"}}}};
  const ConfigMount mount = parse().mounts.at(0);
  EXPECT_EQ(unsigned{MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOATIME}, mount.attributes.set);
  EXPECT_EQ(unsigned{MOUNT_ATTR__ATIME}, mount.attributes.clear);
  EXPECT_EQ(unsigned{MOUNT_ATTR_RDONLY}, mount.below.set);
  EXPECT_EQ(static_cast<unsigned long>(MS_SLAVE | MS_REC), mount.propagation);
  EXPECT_TRUE(mount.copy_up);
  EXPECT_EQ((std::vector<std::pair<std::string, std::string>>{{"size", "64k"}, {"mode", "1777"}}),
            mount.data);
}

TEST_F(ConfigTest, TheLastOfTwoOptionsCounts) {
  config_["mounts"] = {{{"destination", "/x"}, {"type", "tmpfs"}, {"options", {"ro", "rw"}}}};
  const ConfigMount mount = parse().mounts.at(0);
  EXPECT_EQ(0U, mount.attributes.set);
  EXPECT_EQ(unsigned{MOUNT_ATTR_RDONLY}, mount.attributes.clear);
}

TEST_F(ConfigTest, ResourcesAsFilesOfCgroupV2) {
  const Resources resources = parse_resources(R"({
    "memory": {"limit": 1000, "swap": 1500, "reservation": -1},
    "cpu": {"shares": 1024, "quota": 5000, "cpus": "0-1"},
    "pids": {"limit": 0},
    "hugepageLimits": [{"pageSize": "2MB", "limit": 7}],
    "unified": {"memory.high": "900"}
  })");
  std::string text;
  for (const ControlFile& file : resources.files) text += file.name + "=" + file.value + ";";
  EXPECT_EQ(
      "memory.max=1000;memory.low=max;memory.swap.max=500;cpu.weight=39;"
      "cpu.max=5000 100000;cpuset.cpus=0-1;pids.max=max;hugetlb.2MB.max=7;memory.high=900;",
      text);
  EXPECT_EQ((std::vector<std::string>{"memory", "cpu", "cpuset", "pids", "hugetlb"}),
            resources.controllers());
}

// Each key on its own, at its edges: what is left out of one file is in no other.
TEST_F(ConfigTest, EachResourceIsItsOwnFile) {
  const struct {
    const char* text;
    const char* file;
  } kCases[] = {
      {R"({"memory": {"limit": -1}})", "memory.max=max;"},
      {R"({"memory": {"limit": 5, "swap": 5}})", "memory.max=5;memory.swap.max=0;"},
      {R"({"memory": {"swap": -1}})", "memory.swap.max=max;"},
      {R"({"memory": {"limit": 5, "swap": 0}})", "memory.max=5;"},
      {R"({"memory": {"useHierarchy": true, "checkBeforeUpdate": true}})", ""},
      {R"({"cpu": {"shares": 0}})", ""},
      {R"({"cpu": {"shares": 1}})", "cpu.weight=1;"},
      {R"({"cpu": {"shares": 2}})", "cpu.weight=1;"},
      {R"({"cpu": {"shares": 262144}})", "cpu.weight=10000;"},
      {R"({"cpu": {"shares": 262145}})", "cpu.weight=10000;"},
      {R"({"cpu": {"quota": -1}})", "cpu.max=max 100000;"},
      {R"({"cpu": {"quota": 0, "period": 0}})", ""},
      {R"({"cpu": {"period": 7}})", "cpu.max=max 7;"},
      {R"({"cpu": {"burst": 3}})", "cpu.max.burst=3;"},
      {R"({"cpu": {"idle": 0}})", "cpu.idle=0;"},
      {R"({"cpu": {"idle": 1}})", "cpu.idle=1;"},
      {R"({"cpu": {"cpus": "", "mems": "0"}})", "cpuset.mems=0;"},
      {R"({"pids": {"limit": -1}})", "pids.max=max;"},
      {R"({"pids": {"limit": 1}})", "pids.max=1;"},
      {R"({"blockIO": {"weight": 0}})", ""},
      {R"({"blockIO": {"weight": 1000}})", "io.bfq.weight=1000;"},
      {R"({"blockIO": {"throttleReadBpsDevice": [{"major": 8, "minor": 1, "rate": 0}]}})",
       "io.max=8:1 rbps=max;"},
      {R"({"blockIO": {"throttleWriteBpsDevice": [{"major": 8, "minor": 1, "rate": 2}]}})",
       "io.max=8:1 wbps=2;"},
      {R"({"blockIO": {"throttleReadIOPSDevice": [{"major": 8, "minor": 1, "rate": 2}]}})",
       "io.max=8:1 riops=2;"},
      {R"({"blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "minor": 1, "rate": 2}]}})",
       "io.max=8:1 wiops=2;"},
      {R"({"rdma": {"mlx5_1": {"hcaHandles": 3}}})", "rdma.max=mlx5_1 hca_handle=3;"},
      {R"({"rdma": {"mlx5_1": {"hcaObjects": 4}}})", "rdma.max=mlx5_1 hca_object=4;"},
  };
  for (const auto& one : kCases) {
    std::string files;
    for (const ControlFile& file : parse_resources(one.text).files) {
      files += file.name + "=" + file.value + ";";
    }
    EXPECT_EQ(one.file, files) << one.text;
  }
  for (const char* text : {R"({"cpu": {"idle": 2}})", R"({"cpu": {"realtimePeriod": 1}})",
                           R"({"memory": {"limit": 5, "swap": 4}})", R"({"memory": {"swap": 4}})",
                           R"({"memory": {"swappiness": 1}})", R"({"blockIO": {"weight": 1001}})",
                           R"({"blockIO": {"leafWeight": 1}})", R"({"network": {"classID": 1}})",
                           R"({"unified": {"nodot": "1"}})", R"({"unified": {".x": "1"}})"}) {
    EXPECT_THROW((void)parse_resources(text), Failure) << text;
  }
}

TEST_F(ConfigTest, MessagesNameTheProperty) {
  const struct {
    const char* pointer;
    Json value;
    const char* message;
  } kCases[] = {
      {"/process/user/uid", -1, "process.user.uid: must be a number"},
      {"/process/user/uid", 4294967295U, "process.user.uid: is larger than 4294967294"},
      {"/process/cwd", std::string("/a\0b", 4), "process.cwd: contains a null character"},
      {"/process/terminal", "yes", "process.terminal: must be true or false"},
      {"/hostname", std::string(65, 'x'), "hostname: is longer than 64 characters"},
      {"/linux/uidMappings",
       {{{"containerID", 0}, {"hostID", 1}, {"size", 2}}},
       "linux.uidMappings and gidMappings belong to a new user namespace, and it needs both"},
      {"/hooks/poststop",
       {{{"path", "relative"}}},
       "hooks.poststop[0].path: is not an absolute path"},
      {"/mounts",
       {{{"destination", "/a/../../proc/sys"}, {"type", "tmpfs"}}},
       "mounts[0].destination: nothing may be mounted in /proc: /proc/sys"},
      {"/linux/resources/memory/limit", "1g", "linux.resources.memory.limit: must be a number"},
      {"/linux/resources/unified",
       {{"cgroup.procs", "1"}},
       "linux.resources.unified.cgroup.procs: is not the file of a resource"},
      {"/linux/rootfsPropagation", "wild", "linux.rootfsPropagation: unknown propagation wild"},
  };
  for (const auto& [pointer, value, message] : kCases) {
    const Json before = config_;
    config_[Json::json_pointer(pointer)] = value;
    EXPECT_EQ(message, refusal()) << pointer;
    config_ = before;
  }
}

// Runs the program as the kernel would, for the instructions that it consists of.
bool allows(const std::vector<DeviceRule>& rules, char type, std::uint32_t major,
            std::uint32_t minor, std::uint32_t access) {
  const auto program = device_program(rules);
  const std::uint32_t context[] = {
      access << 16 | (type == 'c' ? BPF_DEVCG_DEV_CHAR : BPF_DEVCG_DEV_BLOCK), major, minor};
  std::uint32_t registers[11] = {};
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
  EXPECT_TRUE(allows(rules, 'c', 136, 9, kRead | kWrite));
  EXPECT_TRUE(allows(rules, 'b', 8, 0, kMake));
  EXPECT_FALSE(allows(rules, 'b', 8, 0, kRead));
  EXPECT_FALSE(allows(rules, 'c', 1, 1, kRead)) << "/dev/mem";
}

}  // namespace
}  // namespace box
