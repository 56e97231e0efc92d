#include <linux/sched.h>
#include <sched.h>
#include <sys/resource.h>

#include <cctype>
#include <climits>
#include <map>
#include <sstream>
#include <string>

#include "common/parse_number.h"
#include "stages/11_oci/config_parts.h"

namespace box {
namespace {

constexpr std::pair<const char*, int> kRlimits[] = {
    {"RLIMIT_AS", RLIMIT_AS},
    {"RLIMIT_CORE", RLIMIT_CORE},
    {"RLIMIT_CPU", RLIMIT_CPU},
    {"RLIMIT_DATA", RLIMIT_DATA},
    {"RLIMIT_FSIZE", RLIMIT_FSIZE},
    {"RLIMIT_LOCKS", RLIMIT_LOCKS},
    {"RLIMIT_MEMLOCK", RLIMIT_MEMLOCK},
    {"RLIMIT_MSGQUEUE", RLIMIT_MSGQUEUE},
    {"RLIMIT_NICE", RLIMIT_NICE},
    {"RLIMIT_NOFILE", RLIMIT_NOFILE},
    {"RLIMIT_NPROC", RLIMIT_NPROC},
    {"RLIMIT_RSS", RLIMIT_RSS},
    {"RLIMIT_RTPRIO", RLIMIT_RTPRIO},
    {"RLIMIT_RTTIME", RLIMIT_RTTIME},
    {"RLIMIT_SIGPENDING", RLIMIT_SIGPENDING},
    {"RLIMIT_STACK", RLIMIT_STACK},
};

Rlimit read_rlimit(const JsonNode& node, const std::vector<Rlimit>& before,
                   std::vector<std::string>& unknown) {
  note_unknown(node, {"type", "soft", "hard"}, unknown);
  Rlimit limit;
  limit.name = node.at("type").text();
  limit.soft = node.at("soft").number();
  limit.hard = node.at("hard").number();
  limit.resource = -1;
  for (const auto& [name, resource] : kRlimits) {
    if (limit.name == name) limit.resource = resource;
  }
  if (limit.resource == -1) node.at("type").refuse("unknown limit " + limit.name);
  if (limit.soft > limit.hard) node.at("soft").refuse("is above the hard limit");
  for (const Rlimit& other : before) {
    if (other.resource == limit.resource) node.at("type").refuse(limit.name + " is there twice");
  }
  return limit;
}

// Names that this toolkit does not know are of capabilities that no process here can have; the
// specification lets a runtime leave those out.
CapabilitySet read_set(const JsonNode& node) {
  CapabilitySet set = 0;
  for (const JsonNode& item : node.items()) {
    const std::string name = item.text();
    const auto capability = capability_called(name);
    if (!capability || !name.starts_with("CAP_")) item.refuse("there is no capability " + name);
    set |= bit_of(*capability);
  }
  return set;
}

ProcessCapabilities read_capabilities(const JsonNode& node, std::vector<std::string>& unknown) {
  note_unknown(node, {"bounding", "permitted", "effective", "inheritable", "ambient"}, unknown);
  ProcessCapabilities sets;
  sets.bounding = read_set(node.at("bounding"));
  sets.permitted = read_set(node.at("permitted"));
  sets.effective = read_set(node.at("effective"));
  sets.inheritable = read_set(node.at("inheritable"));
  sets.ambient = read_set(node.at("ambient"));
  // The kernel refuses it, see capset(2).
  if ((sets.effective & ~sets.permitted) != 0) {
    node.at("effective").refuse("contains what permitted does not");
  }
  // `podman build` asks for more, which the kernel refuses, see PR_CAP_AMBIENT in prctl(2).
  sets.ambient &= sets.permitted & sets.inheritable;
  return sets;
}

void read_user(const JsonNode& node, ConfigProcess& process, std::vector<std::string>& unknown) {
  note_unknown(node, {"uid", "gid", "umask", "additionalGids", "username"}, unknown);
  process.uid = id_of(node.at("uid"));
  process.gid = id_of(node.at("gid"));
  constexpr std::uint64_t kMostUmask = 0777;
  if (node.at("umask").is_there()) {
    process.umask = static_cast<mode_t>(node.at("umask").number(kMostUmask));
  }
  for (const JsonNode& item : node.at("additionalGids").items()) {
    process.groups.push_back(id_of(item));
  }
}

void read_size(const JsonNode& node, ConfigProcess& process, std::vector<std::string>& unknown) {
  if (!node.is_there()) return;
  note_unknown(node, {"height", "width"}, unknown);
  process.size.ws_row = static_cast<unsigned short>(node.at("height").number(UINT16_MAX));
  process.size.ws_col = static_cast<unsigned short>(node.at("width").number(UINT16_MAX));
}

// See ioprio_set(2).
std::optional<int> read_io_priority(const JsonNode& node, std::vector<std::string>& unknown) {
  if (!node.is_there()) return std::nullopt;
  note_unknown(node, {"class", "priority"}, unknown);
  constexpr const char* kClasses[] = {"", "IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE",
                                      "IOPRIO_CLASS_IDLE"};
  constexpr int kClassShift = 13;
  constexpr std::int64_t kMostPriority = 7;
  const std::string name = node.at("class").text();
  for (int i = 1; i <= 3; ++i) {
    if (name == kClasses[i]) {
      return i << kClassShift | static_cast<int>(node.at("priority").integer(0, kMostPriority));
    }
  }
  node.at("class").refuse("unknown class " + name);
}

std::uint64_t flag_of(const JsonNode& node) {
  const std::string name = node.text();
  if (name == "SCHED_FLAG_RESET_ON_FORK") return SCHED_FLAG_RESET_ON_FORK;
  if (name == "SCHED_FLAG_RECLAIM") return SCHED_FLAG_RECLAIM;
  if (name == "SCHED_FLAG_DL_OVERRUN") return SCHED_FLAG_DL_OVERRUN;
  if (name == "SCHED_FLAG_KEEP_POLICY") return SCHED_FLAG_KEEP_POLICY;
  if (name == "SCHED_FLAG_KEEP_PARAMS") return SCHED_FLAG_KEEP_PARAMS;
  if (name.starts_with("SCHED_FLAG_UTIL_CLAMP_")) node.refuse("a config has no value for " + name);
  node.refuse("unknown flag " + name);
}

// See sched(7). The kernel would ignore a value that is of another policy.
std::optional<Scheduling> read_scheduling(const JsonNode& node, std::vector<std::string>& unknown) {
  if (!node.is_there()) return std::nullopt;
  note_unknown(node, {"policy", "nice", "priority", "flags", "runtime", "deadline", "period"},
               unknown);
  static const std::map<std::string, std::uint32_t> kPolicies = {
      {"SCHED_OTHER", SCHED_OTHER}, {"SCHED_BATCH", SCHED_BATCH},
      {"SCHED_IDLE", SCHED_IDLE},   {"SCHED_FIFO", SCHED_FIFO},
      {"SCHED_RR", SCHED_RR},       {"SCHED_DEADLINE", SCHED_DEADLINE}};
  const std::string name = node.at("policy").text();
  if (name == "SCHED_ISO") node.at("policy").refuse("no kernel has SCHED_ISO yet");
  const auto policy = kPolicies.find(name);
  if (policy == kPolicies.end()) node.at("policy").refuse("unknown policy " + name);

  Scheduling scheduling;
  scheduling.policy = policy->second;
  for (const JsonNode& item : node.at("flags").items()) scheduling.flags |= flag_of(item);
  constexpr std::int64_t kLeastNice = -20;
  constexpr std::int64_t kMostNice = 19;
  if (const JsonNode nice = node.at("nice"); nice.is_there()) {
    scheduling.nice = static_cast<std::int32_t>(nice.integer(kLeastNice, kMostNice));
  }
  const bool has_priority = policy->second == SCHED_FIFO || policy->second == SCHED_RR;
  constexpr std::int64_t kMostPriority = 99;
  const JsonNode priority = node.at("priority");
  if (has_priority || priority.is_there()) {
    scheduling.priority = static_cast<std::uint32_t>(
        priority.integer(has_priority ? 1 : 0, has_priority ? kMostPriority : 0));
  }
  for (const auto& [key, value] :
       {std::pair{"runtime", &scheduling.runtime}, std::pair{"deadline", &scheduling.deadline},
        std::pair{"period", &scheduling.period}}) {
    const JsonNode time = node.at(key);
    if (time.is_there()) *value = time.number(policy->second == SCHED_DEADLINE ? UINT64_MAX : 0);
  }
  return scheduling;
}

// See "List format" in cpuset(7).
CpuList read_cpus(const JsonNode& node) {
  constexpr unsigned kMostCpus = 8192;  // see CONFIG_NR_CPUS of x86, which allows most
  constexpr unsigned kBits = CHAR_BIT * sizeof(unsigned long);
  CpuList cpus;
  cpus.text = text_or(node, "");
  if (cpus.text.empty()) return cpus;
  std::istringstream ranges(cpus.text + ',');  // so that an empty last one is seen, too
  for (std::string range; std::getline(ranges, range, ',');) {
    const auto dash = range.find('-');
    const auto first = parse_number<unsigned>(range.substr(0, dash));
    const auto last =
        dash == std::string::npos ? first : parse_number<unsigned>(range.substr(dash + 1));
    if (!first || !last || *first > *last || *last >= kMostCpus) {
      node.refuse("is not a list of CPUs, such as 0-3,7");
    }
    for (unsigned cpu = *first; cpu <= *last; ++cpu) {
      if (cpus.mask.size() <= cpu / kBits) cpus.mask.resize(cpu / kBits + 1);
      cpus.mask[cpu / kBits] |= 1UL << cpu % kBits;
    }
  }
  return cpus;
}

ExecAffinity read_exec_affinity(const JsonNode& node, std::vector<std::string>& unknown) {
  if (!node.is_there()) return {};
  note_unknown(node, {"initial", "final"}, unknown);
  return {read_cpus(node.at("initial")), read_cpus(node.at("final"))};
}

void check_environment(const JsonNode& node) {
  for (const JsonNode& item : node.items()) {
    const std::string text = text_or(item, "");
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0) item.refuse("is not KEY=VALUE");
  }
}

}  // namespace

ConfigProcess read_process(const JsonNode& node, std::vector<std::string>& unknown) {
  note_unknown(node,
               {"terminal", "consoleSize", "user", "args", "commandLine", "env", "cwd",
                "capabilities", "rlimits", "noNewPrivileges", "apparmorProfile", "oomScoreAdj",
                "scheduler", "selinuxLabel", "ioPriority", "execCPUAffinity"},
               unknown);
  refuse_what_is_not_done(node, {"commandLine"});
  ConfigProcess process;
  process.terminal = node.at("terminal").is_true();
  read_size(node.at("consoleSize"), process, unknown);
  read_user(node.at("user"), process, unknown);
  process.args = texts_of(node.at("args"));
  if (process.args.empty() || process.args[0].empty()) node.at("args").refuse("has no command");
  check_environment(node.at("env"));
  process.environment = texts_of(node.at("env"));
  process.cwd = absolute_path(node.at("cwd"));
  process.capabilities = read_capabilities(node.at("capabilities"), unknown);
  for (const JsonNode& item : node.at("rlimits").items()) {
    process.rlimits.push_back(read_rlimit(item, process.rlimits, unknown));
  }
  process.no_new_privs = node.at("noNewPrivileges").is_true();
  process.apparmor = text_or(node.at("apparmorProfile"), "");
  process.selinux_label = text_or(node.at("selinuxLabel"), "");
  constexpr int kMostBadness = 1000;
  if (node.at("oomScoreAdj").is_there()) {
    process.oom_score_adj =
        static_cast<int>(node.at("oomScoreAdj").integer(-kMostBadness, kMostBadness));
  }
  process.io_priority = read_io_priority(node.at("ioPriority"), unknown);
  process.scheduling = read_scheduling(node.at("scheduler"), unknown);
  process.exec_affinity = read_exec_affinity(node.at("execCPUAffinity"), unknown);
  return process;
}

}  // namespace box
