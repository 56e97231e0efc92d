#include "stages/11_oci/config.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>

#include "common/json_node.h"
#include "stages/05_userns/id_map.h"
#include "stages/11_oci/config_parts.h"

namespace box {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostHostname = 64;  // __NEW_UTS_LEN of the kernel, see sethostname(2)

void read_version(const JsonNode& node, Config& config) {
  config.version = node.text();
  if (config.version.rfind("1.", 0) != 0) {
    node.refuse("this runtime reads versions 1.0.0 to 1.2, not " + config.version);
  }
}

void read_root(const JsonNode& node, const std::string& bundle, Config& config) {
  if (!node.is_there()) node.refuse("is missing");
  note_unknown(node, {"path", "readonly"}, config.unknown);
  const std::string path = node.at("path").text();
  std::error_code error;
  config.rootfs = fs::canonical(path.starts_with('/') ? path : bundle + "/" + path, error);
  const bool is_directory = !error && fs::is_directory(config.rootfs, error);
  if (error) node.at("path").refuse(path + ": " + error.message());
  if (!is_directory) node.at("path").refuse(path + " is not a directory");
  config.read_only = node.at("readonly").is_true();
}

std::string read_name(const JsonNode& node) {
  const std::string name = text_or(node, "");
  if (name.size() > kMostHostname) node.refuse("is longer than 64 characters");
  return name;
}

// What depends on several properties.
void check_whole(const Config& config) {
  if ((config.new_namespaces & CLONE_NEWNS) == 0) {
    throw Failure("linux.namespaces: a new mount namespace is needed, and is not there");
  }
  if (!config.has_namespace(CLONE_NEWUTS) && !(config.hostname + config.domainname).empty()) {
    throw Failure("hostname and domainname need a uts namespace in linux.namespaces");
  }
  const bool has_user = config.has_namespace(CLONE_NEWUSER);
  const bool new_user = (config.new_namespaces & CLONE_NEWUSER) != 0;
  const bool has_maps = !config.uid_map.empty();
  if (has_maps != !config.gid_map.empty() || (has_maps && !has_user) || (new_user && !has_maps)) {
    throw Failure(
        "linux.uidMappings and gidMappings belong to a user namespace, and a new one needs both");
  }
  if (has_user && config.has_namespace(CLONE_NEWPID) &&
      (config.new_namespaces & CLONE_NEWPID) == 0) {
    throw Failure(
        "linux.namespaces: with a user namespace a pid namespace that is there already is not"
        " joined, because root of it could not mount its /proc");
  }
  check_that_ranges_are_disjoint(config.uid_map);
  check_that_ranges_are_disjoint(config.gid_map);
  if (!config.time_offsets.empty() && (config.new_namespaces & CLONE_NEWTIME) == 0) {
    throw Failure("linux.timeOffsets need a new time namespace in linux.namespaces");
  }
}

}  // namespace

bool Config::has_namespace(std::uint64_t flag) const {
  return (new_namespaces & flag) != 0 ||
         std::any_of(joined.begin(), joined.end(), [&](const NamespaceToJoin& other) {
           return static_cast<std::uint64_t>(other.flag) == flag;
         });
}

void note_unknown(const JsonNode& node, std::initializer_list<const char*> keys,
                  std::vector<std::string>& unknown) {
  for (const auto& [key, member] : node.members()) {
    if (std::find(keys.begin(), keys.end(), key) == keys.end()) unknown.push_back(member.path());
  }
}

bool asks_for_nothing(const JsonNode& node) {
  const Json& value = node.value();
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.is_null() || value == false || value == 0 ||
         (value.is_structured() && value.empty());
}

void refuse_what_is_not_done(const JsonNode& node, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (!asks_for_nothing(node.at(key))) node.at(key).refuse("this runtime cannot do that");
  }
}

std::string text_or(const JsonNode& node, const std::string& otherwise) {
  return node.is_there() ? node.text() : otherwise;
}

std::vector<std::string> texts_of(const JsonNode& node) {
  std::vector<std::string> texts;
  for (const JsonNode& item : node.items()) {
    if (!item.is_there()) item.refuse("must be a string");
    texts.push_back(text_or(item, ""));
  }
  return texts;
}

std::string absolute_path(const JsonNode& node) {
  if (!node.is_there()) node.refuse("is missing");
  std::string path = text_or(node, "");
  if (!path.starts_with('/')) node.refuse("is not an absolute path");
  return path;
}

std::uint32_t id_of(const JsonNode& node) {
  return node.is_there() ? static_cast<std::uint32_t>(node.number(kIds - 1)) : 0;
}

IdMap id_map_of(const JsonNode& node, std::vector<std::string>& unknown) {
  IdMap map;
  for (const JsonNode& item : node.items()) {
    note_unknown(item, {"containerID", "hostID", "size"}, unknown);
    const IdRange range = {static_cast<std::uint32_t>(item.at("containerID").number(kIds - 1)),
                           static_cast<std::uint32_t>(item.at("hostID").number(kIds - 1)),
                           static_cast<std::uint32_t>(item.at("size").number(kIds))};
    if (range.count == 0) item.at("size").refuse("is 0");
    if (std::uint64_t{range.inside} + range.count > kIds ||
        std::uint64_t{range.outside} + range.count > kIds) {
      item.refuse("goes beyond the last id, 4294967294");
    }
    map.push_back(range);
  }
  return map;
}

Hooks read_hooks(const JsonNode& node, std::vector<std::string>& unknown) {
  Hooks hooks;
  note_unknown(
      node,
      {"prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"},
      unknown);
  const auto read = [&](const char* key, std::vector<Hook>& list) {
    for (const JsonNode& item : node.at(key).items()) {
      note_unknown(item, {"path", "args", "env", "timeout"}, unknown);
      Hook hook;
      hook.path = absolute_path(item.at("path"));
      hook.args = texts_of(item.at("args"));
      hook.environment = texts_of(item.at("env"));
      constexpr std::int64_t kMostSeconds = 1'000'000;
      if (item.at("timeout").is_there()) {
        hook.timeout = static_cast<int>(item.at("timeout").integer(1, kMostSeconds));
      }
      list.push_back(hook);
    }
  };
  read("prestart", hooks.prestart);
  read("createRuntime", hooks.create_runtime);
  read("createContainer", hooks.create_container);
  read("startContainer", hooks.start_container);
  read("poststart", hooks.poststart);
  read("poststop", hooks.poststop);
  return hooks;
}

void use_maps(Config& config) {
  if (!config.uid_map.empty() && config.process &&
      (!maps(config.uid_map, config.process->uid) || !maps(config.gid_map, config.process->gid))) {
    throw Failure("process.user: is not mapped by linux.uidMappings and gidMappings");
  }
  for (ConfigMount& mount : config.mounts) {
    if (!mount.maps_ids || !mount.uid_map.empty()) continue;
    mount.uid_map = config.uid_map;
    mount.gid_map = config.gid_map;
    if (mount.uid_map.empty()) {
      throw Failure("mounts: " + mount.destination +
                    ": idmap needs uidMappings and gidMappings, or those of a user namespace");
    }
  }
}

Config parse_config(const std::string& text, const std::string& bundle) {
  const Json json = parse_json(text);
  const JsonNode node(json, "");
  if (!json.is_object()) node.refuse("config.json must be an object");
  Config config;
  note_unknown(node,
               {"ociVersion", "root", "mounts", "process", "hostname", "domainname", "hooks",
                "annotations", "linux", "solaris", "windows", "vm", "zos"},
               config.unknown);
  refuse_what_is_not_done(node, {"solaris", "windows", "vm", "zos"});
  read_version(node.at("ociVersion"), config);
  read_root(node.at("root"), bundle, config);
  config.hostname = read_name(node.at("hostname"));
  config.domainname = read_name(node.at("domainname"));
  if (!(config.hostname + config.domainname).empty()) config.changed_namespaces |= CLONE_NEWUTS;
  if (node.at("process").is_there()) {
    config.process = read_process(node.at("process"), config.unknown);
  }
  for (const JsonNode& mount : node.at("mounts").items()) {
    config.mounts.push_back(read_mount(mount, bundle, config.unknown));
  }
  config.hooks = read_hooks(node.at("hooks"), config.unknown);
  for (const auto& [key, value] : node.at("annotations").members()) {
    config.annotations[key] = value.text();
  }
  read_linux(node.at("linux"), config);
  check_whole(config);
  const bool joins_user =
      config.has_namespace(CLONE_NEWUSER) && (config.new_namespaces & CLONE_NEWUSER) == 0;
  if (!joins_user) use_maps(config);
  return config;
}

ConfigProcess parse_process(const std::string& text) {
  std::vector<std::string> unknown;
  const Json json = parse_json(text);
  if (!json.is_object()) throw Failure("must be an object");
  return read_process(JsonNode(json, ""), unknown);
}

Resources parse_resources(const std::string& text) {
  std::vector<std::string> unknown;
  const Json json = parse_json(text);
  if (!json.is_object()) throw Failure("must be an object");
  return read_resources(JsonNode(json, ""), unknown);
}

}  // namespace box
