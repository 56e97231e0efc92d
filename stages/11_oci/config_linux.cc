#include <linux/seccomp.h>
#include <sched.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <string>

#include "common/printable.h"
#include "stages/11_oci/config_parts.h"

namespace box {
namespace {

constexpr std::pair<const char*, int> kNamespaces[] = {
    {"pid", CLONE_NEWPID},       {"network", CLONE_NEWNET}, {"ipc", CLONE_NEWIPC},
    {"uts", CLONE_NEWUTS},       {"mount", CLONE_NEWNS},    {"user", CLONE_NEWUSER},
    {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME},
};

void read_namespace(const JsonNode& node, Config& config) {
  note_unknown(node, {"type", "path"}, config.unknown);
  const std::string name = node.at("type").text();
  const auto* known = std::find_if(std::begin(kNamespaces), std::end(kNamespaces),
                                   [&](const auto& entry) { return name == entry.first; });
  if (known == std::end(kNamespaces)) node.at("type").refuse("unknown namespace " + name);
  const int flag = known->second;
  if (config.has_namespace(static_cast<std::uint64_t>(flag)))
    node.at("type").refuse("there are two namespaces of this type: " + name);
  if (text_or(node.at("path"), "").empty()) {
    config.new_namespaces |= static_cast<std::uint64_t>(flag);
    return;
  }
  if (flag == CLONE_NEWNS) {
    node.at("path").refuse("the container's mounts are its own: a mount namespace is not joined");
  }
  config.joined.push_back({flag, absolute_path(node.at("path"))});
}

ConfigDevice read_device(const JsonNode& node, std::vector<std::string>& unknown) {
  note_unknown(node, {"path", "type", "major", "minor", "fileMode", "uid", "gid"}, unknown);
  ConfigDevice device;
  device.path = absolute_path(node.at("path"));
  const std::string type = node.at("type").text();
  constexpr std::pair<const char*, mode_t> kTypes[] = {
      {"c", S_IFCHR}, {"u", S_IFCHR}, {"b", S_IFBLK}, {"p", S_IFIFO}};
  for (const auto& [name, mode] : kTypes) {
    if (type == name) device.type = mode;
  }
  if (device.type == 0) node.at("type").refuse("unknown type " + type);
  if (device.type != S_IFIFO) {
    device.major = static_cast<unsigned>(node.at("major").number(kMostDeviceNumber));
    device.minor = static_cast<unsigned>(node.at("minor").number(kMostDeviceNumber));
  }
  // Engines copy st_mode, with the type in it.
  if (node.at("fileMode").is_there()) {
    device.mode = static_cast<mode_t>(node.at("fileMode").number(UINT32_MAX)) & 07777;
  }
  device.uid = id_of(node.at("uid"));
  device.gid = id_of(node.at("gid"));
  return device;
}

// The namespace that a setting belongs to, CLONE_NEW*; 0: none, it is the host's.
std::uint64_t namespace_of_setting(const std::string& key) {
  const auto begins = [&](const char* prefix) { return key.starts_with(prefix); };
  constexpr std::array kIpc = {"kernel.msgmax", "kernel.msgmnb",         "kernel.msgmni",
                               "kernel.sem",    "kernel.shmall",         "kernel.shmmax",
                               "kernel.shmmni", "kernel.shm_rmid_forced"};
  if (begins("net.")) return CLONE_NEWNET;
  if (begins("fs.mqueue.") || std::find(kIpc.begin(), kIpc.end(), key) != kIpc.end()) {
    return CLONE_NEWIPC;
  }
  return key == "kernel.domainname" ? CLONE_NEWUTS : 0;
}

void read_sysctl(const JsonNode& node, Config& config) {
  for (const auto& [key, value] : node.members()) {
    std::string dotted = key;  // "net.ipv4.conf.eth0/100.x" has a slash where a name has a dot
    if (dotted.find('.') == std::string::npos) std::replace(dotted.begin(), dotted.end(), '/', '.');
    if (dotted.find("..") != std::string::npos || printable(dotted) != dotted) {
      value.refuse("is not the name of a setting");
    }
    const std::uint64_t owner = namespace_of_setting(dotted);
    if (!config.has_namespace(owner)) {
      value.refuse("is not a setting of the container's namespaces, but the host's");
    }
    config.changed_namespaces |= owner;
    config.sysctl[dotted] = text_or(value, "");
  }
}

// See personality(2).
void read_personality(const JsonNode& node, Config& config) {
  if (!node.is_there()) return;
  note_unknown(node, {"domain", "flags"}, config.unknown);
  refuse_what_is_not_done(node, {"flags"});
  constexpr unsigned long kLinux32 = 8;
  const std::string domain = node.at("domain").text();
  if (domain != "LINUX" && domain != "LINUX32") {
    node.at("domain").refuse("unknown domain " + domain);
  }
  config.personality = domain == "LINUX32" ? kLinux32 : 0;
}

void read_time_offsets(const JsonNode& node, Config& config) {
  for (const auto& [clock, offset] : node.members()) {
    note_unknown(offset, {"secs", "nanosecs"}, config.unknown);
    if (clock != "monotonic" && clock != "boottime") offset.refuse("unknown clock " + clock);
    const JsonNode seconds = offset.at("secs");
    const JsonNode nanoseconds = offset.at("nanosecs");
    constexpr std::uint64_t kMostNanoseconds = 999'999'999;
    config.time_offsets.push_back(
        clock + " " + std::to_string(seconds.is_there() ? seconds.integer() : 0) + " " +
        std::to_string(nanoseconds.is_there() ? nanoseconds.number(kMostNanoseconds) : 0));
  }
}

// The profile of stage 08b has the same form, except for what concerns a supervisor.
void read_seccomp(const JsonNode& node, Config& config) {
  if (!node.is_there()) return;
  if (!node.value().is_object()) node.refuse("must be an object");
  if (!text_or(node.at("listenerPath"), "").empty()) {
    config.seccomp_listener = absolute_path(node.at("listenerPath"));
  }
  config.seccomp_metadata = text_or(node.at("listenerMetadata"), "");
  if (config.seccomp_listener.empty() && !config.seccomp_metadata.empty()) {
    node.at("listenerMetadata").refuse("is for nobody without listenerPath");
  }
  for (const JsonNode& flag : node.at("flags").items()) {
    if (flag.text() != "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV") continue;
    config.seccomp_listener_flags |= SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV;
  }
  config.seccomp = node.value().dump();
}

}  // namespace

void read_linux(const JsonNode& node, Config& config) {
  if (!node.is_there()) node.refuse("is missing");
  note_unknown(node,
               {"namespaces", "uidMappings", "gidMappings", "timeOffsets", "devices", "cgroupsPath",
                "resources", "intelRdt", "sysctl", "seccomp", "rootfsPropagation", "maskedPaths",
                "readonlyPaths", "mountLabel", "personality"},
               config.unknown);
  refuse_what_is_not_done(node, {"intelRdt"});
  for (const JsonNode& item : node.at("namespaces").items()) read_namespace(item, config);
  config.uid_map = id_map_of(node.at("uidMappings"), config.unknown);
  config.gid_map = id_map_of(node.at("gidMappings"), config.unknown);
  read_time_offsets(node.at("timeOffsets"), config);
  for (const JsonNode& item : node.at("devices").items()) {
    config.devices.push_back(read_device(item, config.unknown));
  }
  config.cgroups_path = text_or(node.at("cgroupsPath"), "");
  config.resources = read_resources(node.at("resources"), config.unknown);
  read_sysctl(node.at("sysctl"), config);
  read_seccomp(node.at("seccomp"), config);
  const JsonNode propagation = node.at("rootfsPropagation");
  if (const std::string word = text_or(propagation, ""); !word.empty()) {
    config.root_propagation = propagation_called(word);
    if (config.root_propagation == 0) propagation.refuse("unknown propagation " + word);
  }
  config.mount_label = text_or(node.at("mountLabel"), "");
  for (const JsonNode& item : node.at("maskedPaths").items()) {
    config.masked_paths.push_back(absolute_path(item));
  }
  for (const JsonNode& item : node.at("readonlyPaths").items()) {
    config.read_only_paths.push_back(absolute_path(item));
  }
  read_personality(node.at("personality"), config);
}

}  // namespace box
