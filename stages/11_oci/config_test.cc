#include "stages/11_oci/config.h"

#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>

#include "common/json_node.h"
#include "stages/11_oci/mount_options.h"

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

// Adds a property that nobody knows to each object, except where keys are not properties.
void add_unknown(Json& node, const std::string& path, std::vector<std::string>& added) {
  constexpr std::array kMaps = {"annotations", "linux.sysctl", "linux.timeOffsets",
                                "linux.resources.rdma", "linux.resources.unified"};
  for (std::size_t i = 0; node.is_array() && i < node.size(); ++i) {
    add_unknown(node[i], path + "[" + std::to_string(i) + "]", added);
  }
  if (!node.is_object()) return;
  const std::string prefix = path.empty() ? "" : path + ".";
  for (const auto& [key, value] : node.items()) add_unknown(value, prefix + key, added);
  if (std::find(kMaps.begin(), kMaps.end(), path) != kMaps.end()) return;
  node["shoe"] = 44;
  added.push_back(prefix + "shoe");
}

// With each property that there is.
Json whole_config() {
  return Json::parse(R"({
    "ociVersion": "1.2.0",
    "root": {"path": "rootfs", "readonly": true},
    "hostname": "h", "domainname": "d",
    "annotations": {"a": "b"},
    "process": {
      "args": ["sh", ""], "env": ["A=b"], "cwd": "/", "terminal": true, "noNewPrivileges": true,
      "consoleSize": {"height": 1, "width": 2}, "apparmorProfile": "p", "oomScoreAdj": 3,
      "user": {"uid": 1, "gid": 2, "umask": 3, "additionalGids": [4], "username": "u"},
      "capabilities": {"bounding": [], "permitted": [], "effective": [], "inheritable": [],
                       "ambient": []},
      "rlimits": [{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
      "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
      "scheduler": {"policy": "SCHED_RR", "priority": 5, "nice": 6,
                    "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_KEEP_PARAMS"]},
      "execCPUAffinity": {"initial": "0", "final": "0-2,64"}
    },
    "mounts": [{"destination": "/t", "type": "tmpfs", "source": "t", "options": ["ro"]}],
    "hooks": {"prestart": [{"path": "/h", "args": ["h"], "env": ["A=b"], "timeout": 1}],
              "poststop": [{"path": "/h"}]},
    "linux": {
      "namespaces": [{"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "user"},
                     {"type": "time"}, {"type": "network", "path": "/n"}],
      "uidMappings": [{"containerID": 0, "hostID": 5, "size": 6}],
      "gidMappings": [{"containerID": 0, "hostID": 5, "size": 6}],
      "timeOffsets": {"boottime": {"secs": 7, "nanosecs": 8}, "monotonic": {"secs": -9}},
      "devices": [{"path": "/dev/d", "type": "c", "major": 1, "minor": 3, "fileMode": 33206,
                   "uid": 1, "gid": 2}],
      "cgroupsPath": "/c", "sysctl": {"kernel.shmmni": "10"}, "rootfsPropagation": "rslave",
      "maskedPaths": ["/m"], "readonlyPaths": ["/r"],
      "personality": {"domain": "LINUX32", "flags": []},
      "resources": {
        "devices": [{"allow": true, "type": "c", "major": 1, "minor": 2, "access": "r"}],
        "memory": {"limit": 1, "reservation": 2, "swap": 3, "useHierarchy": true,
                   "checkBeforeUpdate": true},
        "cpu": {"shares": 1, "quota": 2, "burst": 3, "period": 4, "cpus": "0", "mems": "0",
                "idle": 0},
        "pids": {"limit": 1},
        "blockIO": {"weight": 1, "throttleReadBpsDevice": [{"major": 1, "minor": 2, "rate": 3}],
                    "throttleWriteIOPSDevice": [{"major": 1, "minor": 2, "rate": 3}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 7}],
        "rdma": {"device": {"hcaHandles": 1, "hcaObjects": 2}},
        "unified": {"memory.high": "900"}
      }
    }
  })");
}

TEST_F(ConfigTest, UnknownPropertiesAreListedWhereverTheyAre) {
  config_ = whole_config();
  EXPECT_EQ(std::vector<std::string>{}, parse().unknown);
  std::vector<std::string> added;
  add_unknown(config_, "", added);
  std::vector<std::string> unknown = parse().unknown;
  std::sort(added.begin(), added.end());
  std::sort(unknown.begin(), unknown.end());
  EXPECT_EQ(added, unknown);
}

TEST_F(ConfigTest, EachPropertyIsReadAsItWasWritten) {
  config_ = whole_config();
  const Config config = parse();
  const ConfigProcess& process = *config.process;
  EXPECT_TRUE(config.read_only && process.terminal && process.no_new_privs);
  EXPECT_EQ("h d", config.hostname + " " + config.domainname);
  EXPECT_EQ((std::vector<std::string>{"sh", ""}), process.args);
  EXPECT_EQ(std::vector<std::string>{"A=b"}, process.environment);
  EXPECT_EQ((std::pair{1, 2}), (std::pair<int, int>{process.size.ws_row, process.size.ws_col}));
  EXPECT_EQ("p", process.apparmor);
  EXPECT_EQ(3, process.oom_score_adj);
  EXPECT_EQ((std::array{1U, 2U, 3U}), (std::array{process.uid, process.gid, process.umask}));
  EXPECT_EQ(std::vector<gid_t>{4}, process.groups);
  EXPECT_EQ(RLIMIT_CORE, process.rlimits.at(0).resource);
  EXPECT_EQ((std::pair{1ULL, 2ULL}), (std::pair<unsigned long long, unsigned long long>{
                                         process.rlimits[0].soft, process.rlimits[0].hard}));
  EXPECT_EQ(2 << 13 | 4, process.io_priority);
  EXPECT_EQ((std::array{2U, 5U, 6U, 0x11U}),
            (std::array{process.scheduling->policy, process.scheduling->priority,
                        static_cast<unsigned>(process.scheduling->nice),
                        static_cast<unsigned>(process.scheduling->flags)}));
  EXPECT_EQ("/h", config.hooks.prestart.at(0).path);
  EXPECT_EQ(1, config.hooks.prestart[0].timeout);
  EXPECT_EQ(std::nullopt, config.hooks.poststop.at(0).timeout);
  EXPECT_EQ(static_cast<std::uint64_t>(CLONE_NEWNS) | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |
                CLONE_NEWTIME,
            config.new_namespaces);
  EXPECT_EQ(CLONE_NEWNET, config.joined.at(0).flag);
  EXPECT_EQ((std::array{0U, 5U, 6U}),
            (std::array{config.uid_map.at(0).inside, config.uid_map[0].outside,
                        config.uid_map[0].count}));
  EXPECT_EQ((std::vector<std::string>{"boottime 7 8", "monotonic -9 0"}), config.time_offsets);
  const ConfigDevice& device = config.devices.at(0);
  EXPECT_EQ((std::array<unsigned, 6>{S_IFCHR, 1, 3, 0666, 1, 2}),
            (std::array<unsigned, 6>{device.type, device.major, device.minor, device.mode,
                                     device.uid, device.gid}));
  EXPECT_EQ("10", config.sysctl.at("kernel.shmmni"));
  EXPECT_EQ(static_cast<unsigned long>(MS_SLAVE | MS_REC), config.root_propagation);
  EXPECT_EQ(std::vector<std::string>{"/m"}, config.masked_paths);
  EXPECT_EQ(std::vector<std::string>{"/r"}, config.read_only_paths);
  EXPECT_EQ(8U, config.personality) << "PER_LINUX32";
}

TEST_F(ConfigTest, ListsOfCpus) {
  const auto mask_of = [&](const char* list) {
    config_["process"]["execCPUAffinity"]["final"] = list;
    return parse().process->exec_affinity.final_cpus.mask;
  };
  using Mask = std::vector<unsigned long>;
  EXPECT_EQ(Mask({0b1}), mask_of("0"));
  EXPECT_EQ(Mask({0b10001100}), mask_of("2-3,7"));
  EXPECT_EQ(Mask({0b110}), mask_of("2,1-2"));
  EXPECT_EQ(8192 / (8 * sizeof(unsigned long)), mask_of("8191").size());
  EXPECT_EQ(Mask(), mask_of(""));
  for (const char* wrong :
       {"8192", "1-", "-1", "1--2", "2-1", "1,", ",1", "1,,2", "1 ", "x", "0x1"}) {
    EXPECT_THROW((void)mask_of(wrong), Failure) << wrong;
  }
}

// The first and the last number that is accepted, and what is beyond it.
TEST_F(ConfigTest, EdgesOfNumbers) {
  const struct {
    const char* pointer;
    std::int64_t first;
    std::int64_t last;
  } kCases[] = {
      {"/process/user/umask", 0, 0777},
      {"/process/user/additionalGids/0", 0, 4294967294},
      {"/process/consoleSize/height", 0, 65535},
      {"/process/consoleSize/width", 0, 65535},
      {"/process/oomScoreAdj", -1000, 1000},
      {"/process/ioPriority/priority", 0, 7},
      {"/process/scheduler/nice", -20, 19},
      {"/process/scheduler/priority", 1, 99},
      {"/process/rlimits/0/soft", 0, 2},
      {"/hooks/prestart/0/timeout", 1, 1'000'000},
      {"/linux/timeOffsets/boottime/nanosecs", 0, 999'999'999},
      {"/linux/devices/0/major", 0, 0xfffff},
      {"/linux/devices/0/minor", 0, 0xfffff},
      {"/linux/devices/0/fileMode", 0, UINT32_MAX},
      {"/linux/uidMappings/0/hostID", 0, 4294967295 - 6},
      {"/linux/uidMappings/0/size", 2, 4294967295 - 5},
      {"/linux/resources/blockIO/weight", 0, 1000},
      {"/linux/resources/cpu/idle", 0, 1},
      {"/linux/resources/devices/0/major", -1, 0xfffff},
      {"/linux/resources/blockIO/throttleReadBpsDevice/0/minor", 0, 0xfffff},
  };
  for (const auto& [pointer, first, last] : kCases) {
    config_ = whole_config();
    Json& value = config_.at(Json::json_pointer(pointer));
    for (const std::int64_t accepted : {first, last}) {
      value = accepted;
      EXPECT_EQ("nothing is refused", refusal()) << pointer << " " << accepted;
    }
    for (const std::int64_t refused : {first - 1, last + 1}) {
      value = refused;
      EXPECT_NE("nothing is refused", refusal()) << pointer << " " << refused;
    }
  }
  config_ = whole_config();
  for (const char* name : {"hostname", "domainname"}) {
    config_[name] = std::string(64, 'x');
    EXPECT_EQ("nothing is refused", refusal());
  }
  EXPECT_EQ(0U, parse_resources(R"({"devices": [{"major": 0}]})").devices.at(0).major);
  EXPECT_THROW((void)parse_resources("[]"), Failure);
  EXPECT_THROW((void)parse_process("[]"), Failure);
  config_["process"]["args"] = {""};
  EXPECT_EQ("process.args: has no command", refusal());
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

// What each option sets and clears, of the mount itself and, with an "r" in front, of those below.
TEST_F(ConfigTest, EachMountOptionAndItsOpposite) {
  const struct {
    const char* name;
    unsigned set;
    unsigned clear;
  } kCases[] = {
      {"ro", MOUNT_ATTR_RDONLY, 0},
      {"rw", 0, MOUNT_ATTR_RDONLY},
      {"nosuid", MOUNT_ATTR_NOSUID, 0},
      {"suid", 0, MOUNT_ATTR_NOSUID},
      {"nodev", MOUNT_ATTR_NODEV, 0},
      {"dev", 0, MOUNT_ATTR_NODEV},
      {"noexec", MOUNT_ATTR_NOEXEC, 0},
      {"exec", 0, MOUNT_ATTR_NOEXEC},
      {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
      {"diratime", 0, MOUNT_ATTR_NODIRATIME},
      {"nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0},
      {"symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW},
      {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
      {"norelatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
      {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
      {"atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
      {"strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME},
      {"nostrictatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
  };
  for (const auto& [name, set, clear] : kCases) {
    ConfigMount mount;
    add_mount_option(mount, name);
    EXPECT_EQ((std::pair{set, clear}), (std::pair{mount.attributes.set, mount.attributes.clear}))
        << name;
    add_mount_option(mount, std::string("r") + name);
    EXPECT_EQ((std::pair{set, clear}), (std::pair{mount.below.set, mount.below.clear})) << name;
  }
  const std::pair<const char*, unsigned long> kPropagations[] = {
      {"private", MS_PRIVATE},
      {"rshared", MS_SHARED | MS_REC},
      {"slave", MS_SLAVE},
      {"runbindable", MS_UNBINDABLE | MS_REC},
  };
  for (const auto& [name, flags] : kPropagations) EXPECT_EQ(flags, propagation_called(name));
  EXPECT_EQ(0U, propagation_called("rrshared"));
  for (const char* name : {"defaults", "async", "nomand", "loud", "silent", "noiversion"}) {
    ConfigMount mount;
    add_mount_option(mount, name);
    EXPECT_TRUE(mount.data.empty() && mount.attributes.set == 0) << name;
  }
  for (const char* name : {"remount", "mand"}) {
    ConfigMount mount;
    EXPECT_THROW(add_mount_option(mount, name), Failure) << name;
  }
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
      {"/root/path", std::string("root\0fs", 7), "root.path: contains a null character"},
      {"/linux/sysctl", {{std::string("a\0b", 3), "1"}}, "linux.sysctl: contains a null character"},
      {"/process/terminal", "yes", "process.terminal: must be true or false"},
      {"/hostname", std::string(65, 'x'), "hostname: is longer than 64 characters"},
      {"/linux/uidMappings",
       {{{"containerID", 0}, {"hostID", 1}, {"size", 2}}},
       "linux.uidMappings and gidMappings belong to a user namespace, and a new one needs both"},
      {"/hooks/poststop",
       {{{"path", "relative"}}},
       "hooks.poststop[0].path: is not an absolute path"},
      {"/mounts",
       {{{"destination", "/a/../../proc/sys"}, {"type", "tmpfs"}}},
       "mounts[0].destination: nothing may be mounted in /proc: /proc/sys"},
      {"/linux/resources/memory/limit", "1g", "linux.resources.memory.limit: must be a number"},
      {"/linux/resources/memory",
       {{"swap", 4}},
       "linux.resources.memory.swap: a limit of memory and swap needs one of memory"},
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

}  // namespace
}  // namespace box
