#include <algorithm>
#include <filesystem>
#include <string>

#include "common/mount_points.h"
#include "stages/11_oci/config_parts.h"

namespace box {
namespace {

namespace fs = std::filesystem;

// As runc's: lxcfs has these for each container.
constexpr const char* kMayBeReplacedInProc[] = {
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/net/dev",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
};

void check_destination(const JsonNode& node, const ConfigMount& mount) {
  if (mount.destination == "/") node.refuse("a mount there would hide the root");
  const auto may_be_replaced = [&](const char* path) { return mount.destination == path; };
  if (is_in(mount.destination, "/proc") && mount.destination != "/proc" &&
      std::none_of(std::begin(kMayBeReplacedInProc), std::end(kMayBeReplacedInProc),
                   may_be_replaced)) {
    node.refuse("nothing may be mounted in /proc: " + mount.destination);
  }
}

std::string normal(const std::string& path) {
  std::string result = fs::path(path).lexically_normal();
  while (result.size() > 1 && result.back() == '/') result.pop_back();
  return result;
}

// Configs for other runtimes have these with a bind mount, too, on which they have no effect: the
// kernel ignores the data of MS_BIND, see mount(2). What may be a misspelled flag is refused.
bool is_of_tmpfs(const std::string& option) {
  constexpr std::string_view kNames[] = {"gid", "mode", "nr_blocks", "nr_inodes", "size", "uid"};
  return std::ranges::find(kNames, option) != std::end(kNames);
}

}  // namespace

ConfigMount read_mount(const JsonNode& node, const std::string& bundle,
                       std::vector<std::string>& unknown) {
  note_unknown(node, {"destination", "source", "type", "options", "uidMappings", "gidMappings"},
               unknown);
  ConfigMount mount;
  // Of runc's old configs: a relative path begins at the root.
  const std::string destination = text_or(node.at("destination"), "");
  if (destination.empty()) node.at("destination").refuse("is missing");
  mount.destination = normal("/" + destination);
  mount.type = text_or(node.at("type"), "");
  mount.source = text_or(node.at("source"), "");
  for (const JsonNode& option : node.at("options").items()) {
    try {
      add_mount_option(mount, text_or(option, ""));
    } catch (const Failure& failure) {
      option.refuse(failure.what());
    }
  }
  check_destination(node.at("destination"), mount);
  if (mount.type.empty() || mount.type == "none") node.at("type").refuse("is missing");
  mount.uid_map = id_map_of(node.at("uidMappings"), unknown);
  mount.gid_map = id_map_of(node.at("gidMappings"), unknown);
  if (mount.uid_map.empty() != mount.gid_map.empty()) {
    node.refuse("uidMappings and gidMappings belong together");
  }
  check_that_ranges_are_disjoint(mount.uid_map);
  check_that_ranges_are_disjoint(mount.gid_map);
  mount.maps_ids = mount.maps_ids || !mount.uid_map.empty();
  if (mount.maps_ids && !mount.is_bind()) node.refuse("only a bind mount can have ids of its own");
  if (mount.copy_up && mount.type != "tmpfs") node.refuse("tmpcopyup is an option of tmpfs");
  if (!mount.is_bind()) return mount;
  for (const auto& [name, value] : mount.data) {
    if (!is_of_tmpfs(name)) node.at("options").refuse(name + " is not an option of a bind mount");
  }
  mount.data.clear();
  if (mount.source.empty()) node.at("source").refuse("is missing");
  std::error_code error;
  const std::string source =
      mount.source.starts_with('/') ? mount.source : bundle + "/" + mount.source;
  mount.source = fs::canonical(source, error);
  if (error) node.at("source").refuse(source + ": " + error.message());
  return mount;
}

}  // namespace box
