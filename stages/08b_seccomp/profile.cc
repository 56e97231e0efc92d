#include "stages/08b_seccomp/profile.h"

#include <seccomp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <map>
#include <memory>
#include <set>
#include <type_traits>
#include <utility>

#include "common/architecture.h"
#include "common/check.h"
#include "common/json_node.h"
#include "common/unique_fd.h"
#include "stages/08b_seccomp/multiplexed_calls.h"

namespace box {
namespace {

using Node = JsonNode;

constexpr std::uint32_t kX32Bit = 0x40000000;  // of the numbers of x32 calls, __X32_SYSCALL_BIT

// --- Reading ----------------------------------------------------------------------------------

std::uint32_t read_errno(const Node& node, std::uint32_t without) {
  constexpr std::uint64_t kMaxErrno = 4095;  // MAX_ERRNO of the kernel
  return node.is_there() ? static_cast<std::uint32_t>(node.number(kMaxErrno)) : without;
}

std::uint32_t read_action(const Node& action, const Node& error, std::uint32_t default_error,
                          Supervisor supervisor) {
  const std::string name = action.text();
  if (name == "SCMP_ACT_NOTIFY" && supervisor == Supervisor::kIsThere) return SCMP_ACT_NOTIFY;
  if (name == "SCMP_ACT_ERRNO") return SCMP_ACT_ERRNO(read_errno(error, default_error));
  if (name == "SCMP_ACT_TRACE") return SCMP_ACT_TRACE(read_errno(error, default_error));
  const std::pair<const char*, std::uint32_t> kActions[] = {
      {"SCMP_ACT_ALLOW", SCMP_ACT_ALLOW},
      {"SCMP_ACT_LOG", SCMP_ACT_LOG},
      {"SCMP_ACT_TRAP", SCMP_ACT_TRAP},
      {"SCMP_ACT_KILL", SCMP_ACT_KILL_THREAD},
      {"SCMP_ACT_KILL_THREAD", SCMP_ACT_KILL_THREAD},
      {"SCMP_ACT_KILL_PROCESS", SCMP_ACT_KILL_PROCESS},
  };
  for (const auto& [known, value] : kActions) {
    if (name == known) return value;
  }
  action.refuse(name == "SCMP_ACT_NOTIFY" ? "SCMP_ACT_NOTIFY needs a supervisor process, and"
                                            " there is none"
                                          : "unknown action " + name);
}

scmp_arg_cmp read_condition(const Node& node) {
  node.only_with({"index", "value", "valueTwo", "op"});
  constexpr std::uint64_t kLastArgument = 5;
  scmp_arg_cmp condition = {};
  condition.arg = static_cast<unsigned>(node.at("index").number(kLastArgument));
  condition.datum_a = node.at("value").number();
  if (node.at("valueTwo").is_there()) condition.datum_b = node.at("valueTwo").number();
  const std::string name = node.at("op").text();
  const std::pair<const char*, scmp_compare> kOperators[] = {
      {"SCMP_CMP_NE", SCMP_CMP_NE},
      {"SCMP_CMP_LT", SCMP_CMP_LT},
      {"SCMP_CMP_LE", SCMP_CMP_LE},
      {"SCMP_CMP_EQ", SCMP_CMP_EQ},
      {"SCMP_CMP_GE", SCMP_CMP_GE},
      {"SCMP_CMP_GT", SCMP_CMP_GT},
      {"SCMP_CMP_MASKED_EQ", SCMP_CMP_MASKED_EQ},
  };
  for (const auto& [known, value] : kOperators) {
    if (name == known) condition.op = value;
  }
  if (condition.op == 0) node.at("op").refuse("unknown operator " + name);
  return condition;
}

// 0 if libseccomp does not know it.
std::uint32_t find_architecture(const Node& node) {
  std::string name = node.text();
  if (name.rfind("SCMP_ARCH_", 0) != 0) node.refuse("unknown architecture " + name);
  name.erase(0, 10);
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return std::tolower(c); });
  return seccomp_arch_resolve_name(name.c_str());
}

std::uint32_t read_architecture(const Node& node) {
  const std::uint32_t architecture = find_architecture(node);
  if (architecture == 0) node.refuse("unknown architecture " + node.text());
  return architecture;
}

// The architectures that the profile applies to.
std::vector<std::uint32_t> read_architectures(const Node& profile) {
  const std::uint32_t native = seccomp_arch_native();
  std::vector<std::uint32_t> listed;
  for (const Node& node : profile.at("architectures").items()) {
    listed.push_back(read_architecture(node));
  }
  for (const Node& node : profile.at("archMap").items()) {
    node.only_with({"architecture", "subArchitectures"});
    // Entries for other machines do not matter here, even if libseccomp does not know them.
    if (find_architecture(node.at("architecture")) != native) continue;
    listed.push_back(native);
    for (const Node& sub : node.at("subArchitectures").items()) {
      listed.push_back(read_architecture(sub));
    }
  }
  if (listed.empty()) return {native};
  if (std::find(listed.begin(), listed.end(), native) == listed.end()) {
    profile.refuse("the profile is for other architectures than this machine's");
  }
  return listed;
}

std::pair<int, int> kernel_version(const std::string& text, const Node* place = nullptr) {
  std::pair<int, int> version;
  if (std::sscanf(text.c_str(), "%d.%d", &version.first, &version.second) != 2 &&
      place != nullptr) {
    place->refuse("is not MAJOR.MINOR");
  }
  return version;
}

bool has_kernel(const Node& node) {
  utsname name = {};
  check_quietly(uname(&name), "uname()");
  return kernel_version(name.release) >= kernel_version(node.text(), &node);
}

// Docker's "includes" (the rule counts if all of these hold) and "excludes" (if none does).
bool counts(const Node& rule, CapabilitySet granted) {
  const auto is_granted = [granted](const Node& node) {
    const auto capability = capability_called(node.text());
    if (!capability) node.refuse("there is no capability " + node.text());
    return contains(granted, *capability);
  };
  const auto is_this_machine = [](const Node& node) { return node.text() == kSeccompArchitecture; };

  if (const Node includes = rule.at("includes"); includes.is_there()) {
    includes.only_with({"caps", "arches", "minKernel"});
    const auto caps = includes.at("caps").items();
    const auto arches = includes.at("arches").items();
    const Node kernel = includes.at("minKernel");
    if (!std::all_of(caps.begin(), caps.end(), is_granted)) return false;
    if (!arches.empty() && std::none_of(arches.begin(), arches.end(), is_this_machine))
      return false;
    if (kernel.is_there() && !kernel.text().empty() && !has_kernel(kernel)) return false;
  }
  if (const Node excludes = rule.at("excludes"); excludes.is_there()) {
    excludes.only_with({"caps", "arches", "minKernel"});
    const auto caps = excludes.at("caps").items();
    const auto arches = excludes.at("arches").items();
    const Node kernel = excludes.at("minKernel");
    if (std::any_of(caps.begin(), caps.end(), is_granted)) return false;
    if (std::any_of(arches.begin(), arches.end(), is_this_machine)) return false;
    if (kernel.is_there() && !kernel.text().empty() && has_kernel(kernel)) return false;
  }
  return true;
}

std::vector<Node> names_in(const Node& rule) {
  std::vector<Node> names = rule.at("names").items();
  if (rule.at("name").is_there()) names.push_back(rule.at("name"));  // Docker's old format
  return names;
}

// --- Compiling --------------------------------------------------------------------------------

// libseccomp returns a negative errno.
int check_seccomp(int result, const Node& place) {
  if (result < 0) place.refuse(std::string("libseccomp: ") + strerrordesc_np(-result));
  return result;
}

class Compiler {
 public:
  Compiler(const Node& profile, CapabilitySet granted, Supervisor supervisor)
      : profile_(profile),
        supervisor_(supervisor),
        default_action_(read_action(profile.at("defaultAction"), profile.at("defaultErrnoRet"),
                                    read_errno(profile.at("defaultErrnoRet"), EPERM), supervisor)),
        architectures_(read_architectures(profile)),
        filter_(seccomp_init(default_action_), seccomp_release) {
    if (filter_ == nullptr) throw Failure("seccomp_init()");
    check_seccomp(seccomp_attr_set(filter_.get(), SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS),
                  profile);
    // A binary tree instead of a list, because the kernel, too, runs the filter for each call
    // number when it loads it.
    check_seccomp(seccomp_attr_set(filter_.get(), SCMP_FLTATR_CTL_OPTIMIZE, 2), profile);
    for (const std::uint32_t architecture : architectures_) {
      const int result = seccomp_arch_add(filter_.get(), architecture);
      if (result != -EEXIST) check_seccomp(result, profile);  // the native one is there already
    }
    for (const Node& rule : profile.at("syscalls").items()) {
      rule.only_with({"names", "name", "action", "errnoRet", "errno", "args", "comment", "includes",
                      "excludes"});
      if (counts(rule, granted)) add(rule);
    }
  }

  [[nodiscard]] BpfProgram program() const {
    BpfProgram program = missing_calls();
    const BpfProgram hidden = calls_with_hidden_arguments();
    program.insert(program.end(), hidden.begin(), hidden.end());
    const BpfProgram rules = exported();
    program.insert(program.end(), rules.begin(), rules.end());
    if (program.size() > BPF_MAXINSNS) profile_.refuse("is too long for the kernel");
    return program;
  }

 private:
  void add(const Node& rule) {
    const std::uint32_t action =
        read_action(rule.at("action"), rule.at("errnoRet"), EPERM, supervisor_);
    std::vector<scmp_arg_cmp> conditions;
    for (const Node& node : rule.at("args").items()) conditions.push_back(read_condition(node));
    for (const Node& name : names_in(rule)) {
      const std::string text = name.text();
      const int number = seccomp_syscall_resolve_name(text.c_str());
      if (number == __NR_SCMP_ERROR) {
        // The call may be newer than our libseccomp: then it is denied like all new ones.
        if (action != SCMP_ACT_ALLOW && !says_newest()) name.refuse("unknown system call " + text);
        continue;
      }
      named_.push_back(text);
      if (permits(default_action_) && !permits(action)) {
        (conditions.empty() ? denied_ : denied_sometimes_).insert(text);
      }
      if (action != default_action_) add(name, action, number, conditions);
    }
  }

  void add(const Node& name, std::uint32_t action, int number,
           const std::vector<scmp_arg_cmp>& conditions) {
    const auto add_rule = [&](const scmp_arg_cmp* first, std::size_t count) {
      const int result = seccomp_rule_add_array(filter_.get(), action, number,
                                                static_cast<unsigned>(count), first);
      // The same as another rule, or about a call that this machine does not have.
      if (result != -EEXIST && result != -EDOM) check_seccomp(result, name);
    };
    if (share_an_argument(conditions)) {
      for (const auto& condition : conditions) add_rule(&condition, 1);  // alternatives, as in runc
    } else {
      add_rule(conditions.data(), conditions.size());
    }
  }

  static bool permits(std::uint32_t action) {
    return action == SCMP_ACT_ALLOW || action == SCMP_ACT_LOG;
  }

  static bool share_an_argument(const std::vector<scmp_arg_cmp>& conditions) {
    unsigned seen = 0;
    for (const auto& condition : conditions) {
      if ((seen >> condition.arg & 1U) != 0) return true;
      seen |= 1U << condition.arg;
    }
    return false;
  }

  [[nodiscard]] bool says_newest() const { return profile_.at("newestSyscall").is_there(); }

  // Returns the number of the newest call that the profile names, or -1 if it does not matter.
  [[nodiscard]] int newest(std::uint32_t architecture) const {
    const auto number = [architecture](const std::string& name) {
      return seccomp_syscall_resolve_name_arch(architecture, name.c_str());
    };
    if (const Node node = profile_.at("newestSyscall"); node.is_there()) {
      const int newest = number(node.text());
      if (newest < 0) node.refuse("unknown system call " + node.text());
      return newest;
    }
    int newest = -1;
    if ((default_action_ & SECCOMP_RET_ACTION_FULL) != SECCOMP_RET_ERRNO) return newest;
    for (const auto& name : named_) newest = std::max(newest, number(name));
    return newest;
  }

  // The beginning of the program, for which libseccomp has no kind of rule: all numbers of a range.
  [[nodiscard]] BpfProgram missing_calls() const {
    BpfProgram program;
    for (const std::uint32_t architecture : architectures_) {
      if (architecture == SCMP_ARCH_X32) continue;
      for (const auto& [first, last] : missing_numbers(architecture)) {
        program.insert(program.end(),
                       {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, architecture, 0, 4),
                        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                        BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 2, 0),
                        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS)});
      }
    }
    return program;
  }

  // For a call that is denied only with some arguments, and can also be made by one that has them
  // where no filter can look: libseccomp would leave out the condition, and so deny all sockets to
  // programs for i386, which glibc makes by socketcall(2). As in Docker, those are allowed.
  [[nodiscard]] BpfProgram calls_with_hidden_arguments() const {
    constexpr std::uint32_t kFirstArgument =
        offsetof(seccomp_data, args) + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? 4 : 0);
    BpfProgram program;
    for (const std::uint32_t architecture : architectures_) {
      for (const auto& name : denied_sometimes_) {
        const auto call = multiplexed(architecture, name);
        if (!call || denied_.count(name) > 0) continue;
        program.insert(program.end(),
                       {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, arch)),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, architecture, 0, 5),
                        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call->number, 0, 3),
                        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kFirstArgument),
                        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call->index, 0, 1),
                        BPF_STMT(BPF_RET | BPF_K, default_action_)});
      }
    }
    return program;
  }

  // The numbers that are newer than the profile, and those that belong to no call. Numbers of x32
  // are left to the part that follows, which kills the process.
  [[nodiscard]] std::vector<std::pair<std::uint32_t, std::uint32_t>> missing_numbers(
      std::uint32_t architecture) const {
    std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges;
    const int last = newest(architecture);
    if (last < 0) return ranges;
    for (std::uint32_t number = 0; says_newest() && number <= static_cast<unsigned>(last);
         ++number) {
      const std::unique_ptr<char, decltype(&std::free)> name(
          seccomp_syscall_resolve_num_arch(architecture, static_cast<int>(number)), std::free);
      if (name != nullptr) continue;
      if (ranges.empty() || ranges.back().second + 1 != number) ranges.emplace_back(number, number);
      ranges.back().second = number;
    }
    ranges.emplace_back(last + 1, kX32Bit - 1);
    return ranges;
  }

  [[nodiscard]] BpfProgram exported() const {
    const UniqueFd file(check_quietly(memfd_create("filter", MFD_CLOEXEC), "memfd_create()"));
    check_seccomp(seccomp_export_bpf(filter_.get(), file.get()), profile_);
    const auto size = check_quietly(lseek(file.get(), 0, SEEK_END), "lseek()");
    BpfProgram program(static_cast<std::size_t>(size) / sizeof(sock_filter));
    check_quietly(pread(file.get(), program.data(), static_cast<std::size_t>(size), 0), "pread()");
    // To libseccomp, a write(2) that wrote a part does not return an error.
    if (!is_whole(program)) throw Failure("seccomp_export_bpf(): the filter has no end");
    return program;
  }

  const Node& profile_;
  Supervisor supervisor_;
  std::uint32_t default_action_;
  std::vector<std::uint32_t> architectures_;
  std::unique_ptr<std::remove_pointer_t<scmp_filter_ctx>, decltype(&seccomp_release)> filter_;
  std::vector<std::string> named_;
  std::set<std::string> denied_;            // by rules without conditions
  std::set<std::string> denied_sometimes_;  // by rules with conditions
};

}  // namespace

BpfProgram compile_profile(const std::string& json, CapabilitySet granted, Supervisor supervisor) {
  const Json value = parse_json(json);
  const Node profile(value, "");
  // Podman writes the name of each number in errnoRet beside it.
  profile.only_with({"defaultAction", "defaultErrnoRet", "defaultErrno", "archMap", "architectures",
                     "syscalls", "comment", "newestSyscall", "flags", "listenerPath",
                     "listenerMetadata"});  // of the supervisor
  return Compiler(profile, granted, supervisor).program();
}

unsigned flags_of_profile(const std::string& json) {
  const Json value = parse_json(json);
  unsigned flags = 0;
  for (const Node& node : Node(value, "").at("flags").items()) {
    const std::string name = node.text();
    if (name == "SECCOMP_FILTER_FLAG_LOG") {
      flags |= SECCOMP_FILTER_FLAG_LOG;
    } else if (name == "SECCOMP_FILTER_FLAG_SPEC_ALLOW") {
      flags |= SECCOMP_FILTER_FLAG_SPEC_ALLOW;
    } else if (name != "SECCOMP_FILTER_FLAG_TSYNC" &&
               name != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV") {
      node.refuse("unknown flag " + name);
    }  // these two concern other threads, which there are not, and SeccompFilter's supervisor
  }
  return flags;
}

std::string compiler_of_profiles() {
  const scmp_version* version = seccomp_version();
  utsname name = {};
  check_quietly(uname(&name), "uname()");
  struct stat program = {};  // another build may compile profiles differently
  check_quietly(stat("/proc/self/exe", &program), "stat(/proc/self/exe)");
  return fmt::format("libseccomp {}.{}.{}, Linux {}, program {} {}.{}", version->major,
                     version->minor, version->micro, name.release, program.st_size,
                     program.st_mtim.tv_sec, program.st_mtim.tv_nsec);
}

}  // namespace box
