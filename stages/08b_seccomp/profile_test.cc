#include "stages/08b_seccomp/profile.h"

#include <gtest/gtest.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/ipc.h>
#include <linux/net.h>
#include <seccomp.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "common/failure.h"

namespace box {
namespace {

constexpr std::uint32_t kAllow = SECCOMP_RET_ALLOW;
constexpr std::uint32_t kDenied = SECCOMP_RET_ERRNO | EPERM;
constexpr std::uint32_t kNoSuchCall = SECCOMP_RET_ERRNO | ENOSYS;
constexpr std::uint32_t kKilled = SECCOMP_RET_KILL_PROCESS;
constexpr std::uint64_t kHigh = std::uint64_t{0xdeadbeef} << 32;
constexpr std::uint32_t kTiocsti = 0x5412;
constexpr std::uint32_t kTioclinux = 0x541c;
constexpr int kNewest = 450;  // set_mempolicy_home_node, the same number everywhere

std::string read(const std::string& name) {
  std::ostringstream text;
  text << std::ifstream("stages/08b_seccomp/" + name).rdbuf();
  return text.str();
}

std::uint32_t act(const BpfProgram& program, int number,
                  std::initializer_list<std::uint64_t> arguments = {},
                  std::uint32_t architecture = seccomp_arch_native()) {
  seccomp_data call = {number, architecture, 0, {}};
  std::copy(arguments.begin(), arguments.end(), call.args);
  return evaluate(program, call);
}

// The calls that this machine has, by number, up to the newest that the profiles know.
std::map<int, std::string> calls() {
  std::map<int, std::string> found;
  for (int number = 0; number <= kNewest; ++number) {
    char* name = seccomp_syscall_resolve_num_arch(seccomp_arch_native(), number);
    if (name != nullptr) found[number] = name;
    std::free(name);
  }
  return found;
}

// The calls that have a rule of `profile` with this action, whatever their arguments; where `lone`,
// only rules that no capability lifts.
std::set<std::string> named(const std::string& profile, const std::string& action,
                            bool lone = false) {
  std::set<std::string> names;
  const auto json = nlohmann::json::parse(profile);  // otherwise the loop would outlive it
  for (const auto& rule : json["syscalls"]) {
    if (rule["action"] != action || rule.contains("args")) continue;
    if (lone && rule.contains("excludes")) continue;
    for (const auto& name : rule["names"]) names.insert(name);
  }
  return names;
}

TEST(DefaultProfile, DeniesWhatItNamesAndAllowsTheRest) {
  const std::string json = read("default.json");
  auto denied = named(json, "SCMP_ACT_ERRNO");
  denied.erase("chroot");  // which Docker's capabilities allow
  const BpfProgram program = compile_profile(json, default_capabilities());
  int count = 0;
  for (const auto& [number, name] : calls()) {
    const bool unseen = name == "clone3" || name == "uretprobe" || name == "uprobe";
    const std::uint32_t refusal = unseen ? kNoSuchCall : kDenied;
    EXPECT_EQ(act(program, number), denied.count(name) > 0 ? refusal : kAllow) << name;
    count += static_cast<int>(denied.count(name));
  }
  EXPECT_GT(count, 50);
}

TEST(DefaultProfile, FollowsTheCapabilities) {
  const std::string json = read("default.json");
  const auto always = named(json, "SCMP_ACT_ERRNO", true);
  const BpfProgram program = compile_profile(json, all_capabilities());
  for (const auto& [number, name] : calls()) {
    if (name == "uretprobe" || name == "uprobe") continue;  // libseccomp 2.6 knows them
    EXPECT_EQ(act(program, number), always.count(name) > 0 ? kDenied : kAllow) << name;
  }
  EXPECT_EQ(act(compile_profile(json, 0), SYS_chroot), kDenied);
  EXPECT_EQ(act(compile_profile(json, bit_of(CAP_BPF)), SYS_bpf), kAllow);
  EXPECT_EQ(act(compile_profile(json, bit_of(CAP_BPF)), SYS_mount), kDenied);
}

TEST(DefaultProfile, LooksAtArgumentsAsTheKernelDoes) {
  const BpfProgram program = compile_profile(read("default.json"), default_capabilities());
  for (const std::uint64_t high : {std::uint64_t{0}, std::uint64_t{1} << 32, kHigh}) {
    EXPECT_EQ(act(program, SYS_ioctl, {0, high | kTiocsti}), kDenied) << high;
    EXPECT_EQ(act(program, SYS_ioctl, {0, high | kTioclinux}), kDenied) << high;
    EXPECT_EQ(act(program, SYS_ioctl, {0, high | 0x5413}), kAllow) << high;
    EXPECT_EQ(act(program, SYS_socket, {high | 38}), kDenied) << high;
    EXPECT_EQ(act(program, SYS_socket, {high | 40}), kDenied) << high;
    EXPECT_EQ(act(program, SYS_socket, {high | 1}), kAllow) << high;
    EXPECT_EQ(act(program, SYS_personality, {high | 0x40000}), kDenied) << high;
  }
  EXPECT_EQ(act(program, SYS_ioctl, {kTiocsti, 0x5401, kTiocsti}), kAllow);
  for (const std::uint64_t flag :
       {0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000, 0x7e020000}) {
    EXPECT_EQ(act(program, SYS_clone, {flag | 17}), kDenied) << flag;
  }
  EXPECT_EQ(act(program, SYS_clone, {0x3d0f00}), kAllow);  // as a thread starts
  for (const std::uint64_t persona : {0, 8, 0x20000, 0x20008}) {
    EXPECT_EQ(act(program, SYS_personality, {persona}), kAllow) << persona;
  }
}

TEST(StrictProfile, AllowsWhatItNamesAndDeniesTheRest) {
  const std::string json = read("strict.json");
  const auto allowed = named(json, "SCMP_ACT_ALLOW");
  const BpfProgram program = compile_profile(json, default_capabilities());
  int count = 0;
  for (const auto& [number, name] : calls()) {
    if (name == "clone" || name == "clone3") continue;
    EXPECT_EQ(act(program, number), allowed.count(name) > 0 ? kAllow : kDenied) << name;
    count += static_cast<int>(allowed.count(name));
  }
  EXPECT_GT(count, 100);
  EXPECT_LT(count, 180);  // i386 has several of the same use, as chown and chown32
  EXPECT_EQ(act(program, SYS_clone3), kNoSuchCall);
  EXPECT_EQ(act(program, SYS_clone, {17}), kAllow);
  EXPECT_EQ(act(program, SYS_clone, {0x10000000 | 17}), kDenied);
  EXPECT_EQ(act(program, SYS_ioctl, {0, 0x5401}), kAllow);
  EXPECT_EQ(act(program, SYS_ioctl, {0, kTiocsti}), kDenied);
  EXPECT_EQ(act(program, SYS_ioctl, {0, kHigh | kTiocsti}), kDenied);
  EXPECT_EQ(act(program, SYS_socket, {2}), kAllow);
  EXPECT_EQ(act(program, SYS_socket, {16}), kDenied);
}

TEST(BothProfiles, SayThatNewerCallsAreNotThere) {
  for (const char* name : {"default.json", "strict.json"}) {
    const BpfProgram program = compile_profile(read(name), default_capabilities());
    for (const int number : {kNewest + 1, kNewest + 100, 0x3fffffff}) {
      EXPECT_EQ(act(program, number), kNoSuchCall) << name << number;
    }
  }
}

#ifdef __x86_64__
TEST(BothProfiles, SayThatNumbersWithoutACallAreNotThere) {
  // 335 and 336 are uretprobe and uprobe, which are newer than 450, set_mempolicy_home_node.
  for (const char* name : {"default.json", "strict.json"}) {
    const BpfProgram program = compile_profile(read(name), default_capabilities());
    for (int number = 335; number < 424; ++number) {
      EXPECT_EQ(act(program, number), kNoSuchCall) << name << number;
    }
    EXPECT_NE(act(program, 334), kNoSuchCall) << name << ": rseq";
    EXPECT_NE(act(program, 424), kNoSuchCall) << name << ": pidfd_send_signal";
  }
}
#endif

TEST(BothProfiles, KillOtherArchitectures) {
#ifdef __i386__
  const std::vector<std::uint32_t> others = {AUDIT_ARCH_X86_64, AUDIT_ARCH_ARM, AUDIT_ARCH_S390X};
#else
  const std::vector<std::uint32_t> others = {AUDIT_ARCH_I386, AUDIT_ARCH_ARM, AUDIT_ARCH_S390X};
#endif
  for (const char* name : {"default.json", "strict.json"}) {
    const BpfProgram program = compile_profile(read(name), default_capabilities());
    for (const int number : {0, 1, 20, 39, 1000}) {
      for (const std::uint32_t other : others) {
        EXPECT_EQ(act(program, number, {}, other), kKilled) << name << number;
      }
#ifdef __x86_64__
      EXPECT_EQ(act(program, 0x40000000 | number), kKilled) << name << number;  // x32
#endif
    }
  }
}

// --- Docker's format --------------------------------------------------------------------------

std::string profile(const std::string& default_action, const std::string& rules,
                    const std::string& more = "") {
  return R"({"defaultAction": ")" + default_action + "\", " + more + "\"syscalls\": [" + rules +
         "]}";
}

std::string deny(const std::string& names, const std::string& more) {
  return R"({"names": [)" + names + R"(], "action": "SCMP_ACT_ERRNO")" + more + "}";
}

BpfProgram denying(const std::string& more) {
  return compile_profile(profile("SCMP_ACT_ALLOW", deny(R"("mkdirat")", more)), bit_of(CAP_KILL));
}

TEST(Profile, HasAnErrnoForEachRule) {
  const auto text =
      profile("SCMP_ACT_ERRNO",
              deny(R"("read")", R"(, "errnoRet": 13)") + "," + deny(R"("write")", "") +
                  R"(,{"names": ["open"], "action": "SCMP_ACT_TRAP"})",
              R"("defaultErrnoRet": 38,)");
  const BpfProgram program = compile_profile(text, 0);
  EXPECT_EQ(act(program, SYS_read), SECCOMP_RET_ERRNO | EACCES);
  EXPECT_EQ(act(program, SYS_write), kDenied);
  EXPECT_EQ(act(program, SYS_close), kNoSuchCall);
#ifdef SYS_open
  EXPECT_EQ(act(program, SYS_open), SECCOMP_RET_TRAP);
#endif
}

TEST(Profile, HasRulesForSomeContainers) {
  constexpr int kCall = SYS_mkdirat;
  EXPECT_EQ(act(denying(""), kCall), kDenied);
  EXPECT_EQ(act(denying(R"(, "includes": null, "excludes": {}, "args": null)"), kCall), kDenied);
  for (const char* applies :
       {R"("includes": {"caps": ["CAP_KILL"]})",
        R"("includes": {"arches": ["amd64", "arm64", "x86"]})",
        R"("includes": {"minKernel": "4.8"})", R"("excludes": {"caps": ["CAP_CHOWN"]})",
        R"("excludes": {"arches": ["s390"], "minKernel": "99.0"})"}) {
    EXPECT_EQ(act(denying(std::string(", ") + applies), kCall), kDenied) << applies;
  }
  for (const char* applies_not :
       {R"("includes": {"caps": ["CAP_KILL", "CAP_CHOWN"]})", R"("includes": {"arches": ["s390"]})",
        R"("includes": {"minKernel": "99.0"})",
        R"("excludes": {"caps": ["CAP_CHOWN", "CAP_KILL"]})",
        R"("excludes": {"arches": ["amd64", "arm64", "x86"]})",
        R"("excludes": {"minKernel": "4.8"})"}) {
    EXPECT_EQ(act(denying(std::string(", ") + applies_not), kCall), kAllow) << applies_not;
  }
}

TEST(Profile, HasConditions) {
  // Of different arguments all must hold; of the same one any will do, as in runc.
  const auto program = denying(R"(, "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"},
                                             {"index": 1, "value": 7, "op": "SCMP_CMP_GT"}])");
  EXPECT_EQ(act(program, SYS_mkdirat, {5, 8}), kDenied);
  EXPECT_EQ(act(program, SYS_mkdirat, {5, 7}), kAllow);
  EXPECT_EQ(act(program, SYS_mkdirat, {4, 8}), kAllow);
  const auto either = denying(R"(, "args": [{"index": 0, "value": 5, "op": "SCMP_CMP_EQ"},
                                            {"index": 0, "value": 6, "op": "SCMP_CMP_EQ"}])");
  EXPECT_EQ(act(either, SYS_mkdirat, {5}), kDenied);
  EXPECT_EQ(act(either, SYS_mkdirat, {6}), kDenied);
  EXPECT_EQ(act(either, SYS_mkdirat, {7}), kAllow);
}

TEST(Profile, TakesTheNewestCallFromItsRules) {
  const auto text =
      profile("SCMP_ACT_ERRNO", R"({"names": ["openat2", "read"], "action": "SCMP_ACT_ALLOW"})");
  const BpfProgram program = compile_profile(text, 0);
  EXPECT_EQ(act(program, SYS_openat2), kAllow);
  EXPECT_EQ(act(program, SYS_openat2 - 1), kDenied);
  EXPECT_EQ(act(program, SYS_openat2 + 1), kNoSuchCall);
}

#ifdef __x86_64__
TEST(Profile, AllowsTheArchitecturesThatItNames) {
  const auto text = profile("SCMP_ACT_ERRNO", R"({"name": "getpid", "action": "SCMP_ACT_ALLOW"})",
                            R"("archMap": [{"architecture": "SCMP_ARCH_AARCH64"},
                                           {"architecture": "SCMP_ARCH_X86_64",
                                            "subArchitectures": ["SCMP_ARCH_X86"]}],)");
  const BpfProgram program = compile_profile(text, 0);
  EXPECT_EQ(act(program, SYS_getpid), kAllow);
  EXPECT_EQ(act(program, 20, {}, AUDIT_ARCH_I386), kAllow);
  EXPECT_EQ(act(program, 19, {}, AUDIT_ARCH_I386), kDenied);
  EXPECT_EQ(act(program, 21, {}, AUDIT_ARCH_I386), kNoSuchCall);
  EXPECT_EQ(act(program, SYS_getpid, {}, AUDIT_ARCH_AARCH64), kKilled);
}

// i386 has socket(2) twice: as a call of its own, and by socketcall(2), 102, whose arguments are in
// memory. glibc uses the latter.
TEST(Profile, DoesNotDenyACallWhoseArgumentsItCannotSee) {
  const std::string and_i386 = R"("archMap": [{"architecture": "SCMP_ARCH_X86_64",
                                               "subArchitectures": ["SCMP_ARCH_X86"]}],)";
  const std::string vsock = R"({"name": "socket", "action": "SCMP_ACT_ERRNO",
      "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 40}]})";
  const auto by_socketcall = [](const BpfProgram& program, std::uint32_t index) {
    return act(program, 102, {index}, AUDIT_ARCH_I386);
  };
  BpfProgram program = compile_profile(profile("SCMP_ACT_ALLOW", vsock, and_i386), 0);
  EXPECT_EQ(act(program, SYS_socket, {40}), kDenied);
  EXPECT_EQ(act(program, 359, {40}, AUDIT_ARCH_I386), kDenied);
  EXPECT_EQ(act(program, 359, {2}, AUDIT_ARCH_I386), kAllow);
  EXPECT_EQ(by_socketcall(program, SYS_SOCKET), kAllow);

  // Where the arguments do not matter, the other way is denied, too.
  const std::string bind = R"(, {"name": "bind", "action": "SCMP_ACT_ERRNO"})";
  const std::string all = R"(, {"name": "socket", "action": "SCMP_ACT_ERRNO"})";
  program = compile_profile(profile("SCMP_ACT_ALLOW", vsock + bind, and_i386), 0);
  EXPECT_EQ(by_socketcall(program, SYS_SOCKET), kAllow);
  EXPECT_EQ(by_socketcall(program, SYS_BIND), kDenied);
  program = compile_profile(profile("SCMP_ACT_ALLOW", vsock + all, and_i386), 0);
  EXPECT_EQ(by_socketcall(program, SYS_SOCKET), kDenied);

  // ipc(2), 117, is the same for System V's objects.
  program =
      compile_profile(profile("SCMP_ACT_ALLOW", R"({"name": "shmget", "action": "SCMP_ACT_ERRNO",
      "args": [{"index": 2, "op": "SCMP_CMP_EQ", "value": 5}]})",
                              and_i386),
                      0);
  EXPECT_EQ(act(program, SYS_shmget, {0, 0, 5}), kDenied);
  EXPECT_EQ(act(program, 117, {SHMGET}, AUDIT_ARCH_I386), kAllow);
}
#endif

TEST(Profile, DoesNotMindWhatItSaysOfMachinesThatNobodyKnows) {
  const auto text = profile("SCMP_ACT_ERRNO", R"({"name": "getpid", "action": "SCMP_ACT_ALLOW"})",
                            R"("archMap": [{"architecture": "SCMP_ARCH_ABACUS",
                                            "subArchitectures": ["SCMP_ARCH_SLIDE_RULE"]}],)");
  EXPECT_EQ(act(compile_profile(text, 0), SYS_getpid), kAllow);
}

TEST(CompilerOfProfiles, IsThisBuild) {
  struct stat program = {};
  ASSERT_EQ(stat("/proc/self/exe", &program), 0);
  const std::string size = " program " + std::to_string(program.st_size) + " ";
  EXPECT_NE(compiler_of_profiles().find(size), std::string::npos) << compiler_of_profiles();
}

TEST(Profile, HasFlags) {
  const auto with = [](const std::string& flags) {
    const auto text =
        profile("SCMP_ACT_ALLOW", "", R"("listenerPath": "/x", "flags": )" + flags + ",");
    EXPECT_FALSE(compile_profile(text, 0).empty());
    return flags_of_profile(text);
  };
  EXPECT_EQ(with("null"), 0U);
  EXPECT_EQ(with(R"(["SECCOMP_FILTER_FLAG_LOG"])"), SECCOMP_FILTER_FLAG_LOG);
  EXPECT_EQ(with(R"(["SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_TSYNC"])"),
            SECCOMP_FILTER_FLAG_SPEC_ALLOW);
  EXPECT_THROW((void)with(R"(["SECCOMP_FILTER_FLAG_ABACUS"])"), Failure);
  EXPECT_THROW((void)with(R"("SECCOMP_FILTER_FLAG_LOG")"), Failure);
}

TEST(Profile, LeavesOutPermissionsOfUnknownCalls) {
  const auto text = profile("SCMP_ACT_ERRNO",
                            R"({"names": ["no_such_call", "read"], "action": "SCMP_ACT_ALLOW"})");
  EXPECT_EQ(act(compile_profile(text, 0), SYS_read), kAllow);
}

TEST(Profile, RefusesWhatItCannotDo) {
  const std::pair<std::string, std::string> kRefused[] = {
      {"", "parse error at line 1, column 1"},
      {"{\"a\": 2e999}", "number overflow parsing '2e999'"},
      {"{\n\"a\": }", "parse error at line 2, column 6"},
      {"[]", "must be an object"},
      {"{}", "defaultAction: is missing"},
      {R"({"defaultAction": 1})", "defaultAction: must be a string"},
      {R"({"defaultAction": "ALLOW"})", "defaultAction: unknown action ALLOW"},
      {profile("SCMP_ACT_NOTIFY", ""), "defaultAction: SCMP_ACT_NOTIFY needs"},
      {profile("SCMP_ACT_ALLOW", "", R"("flagz": ["SECCOMP_FILTER_FLAG_LOG"],)"),
       "flagz: unknown key"},
      {profile("SCMP_ACT_ALLOW", "", R"("archMap": [{"architecture": "abacus"}],)"),
       "archMap[0].architecture: unknown architecture abacus"},
      {profile("SCMP_ACT_ALLOW", "", R"("architectures": ["SCMP_ARCH_ABACUS"],)"),
       "architectures[0]: unknown architecture"},
      {profile("SCMP_ACT_ALLOW", "", R"("architectures": ["SCMP_ARCH_S390X"],)"),
       "the profile is for other architectures"},
      {profile("SCMP_ACT_ALLOW", "", R"("newestSyscall": "no_such_call",)"),
       "newestSyscall: unknown system call no_such_call"},
      {R"({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": {}})", "syscalls: must be a list"},
      {profile("SCMP_ACT_ALLOW", "1"), "syscalls[0]: must be an object"},
      {profile("SCMP_ACT_ALLOW", deny(R"("read", "raed")", "")),
       "syscalls[0].names[1]: unknown system call raed"},
      {profile("SCMP_ACT_ALLOW", deny("7", "")), "syscalls[0].names[0]: must be a string"},
      {profile("SCMP_ACT_ALLOW", deny("", R"(, "exclude": {})")), "syscalls[0].exclude: unknown"},
      {profile("SCMP_ACT_ALLOW", deny("", R"(, "errnoRet": 5000)")),
       "syscalls[0].errnoRet: is larger than 4095"},
      {profile("SCMP_ACT_ALLOW", deny("", R"(, "errnoRet": -1)")),
       "syscalls[0].errnoRet: must be a number"},
      {profile("SCMP_ACT_ALLOW", deny("", R"(, "includes": {"caps": ["CAP_NONE"]})")),
       "syscalls[0].includes.caps[0]: there is no capability CAP_NONE"},
      {profile("SCMP_ACT_ALLOW", deny("", R"(, "includes": {"minKernel": "new"})")),
       "syscalls[0].includes.minKernel: is not MAJOR.MINOR"},
      {profile("SCMP_ACT_ALLOW", deny("", R"(, "includes": {"distro": "x"})")),
       "syscalls[0].includes.distro: unknown key"},
      {profile("SCMP_ACT_ALLOW", deny("", R"(, "args": [{"index": 6, "value": 1, "op": "x"}])")),
       "syscalls[0].args[0].index: is larger than 5"},
      {profile("SCMP_ACT_ALLOW", deny("", R"(, "args": [{"index": 1, "value": 1, "op": "x"}])")),
       "syscalls[0].args[0].op: unknown operator x"},
      {profile("SCMP_ACT_ALLOW", deny("", R"(, "args": [{"index": 1}])")),
       "syscalls[0].args[0].value: is missing"},
  };
  for (const auto& [text, message] : kRefused) {
    try {
      (void)compile_profile(text, 0);
      ADD_FAILURE() << text;
    } catch (const Failure& failure) {
      EXPECT_EQ(std::string(failure.what()).substr(0, message.size()), message) << text;
    }
  }
}

}  // namespace
}  // namespace box
