#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <string>

#include "stages/11_oci/config_parts.h"

namespace box {
namespace {

constexpr std::int64_t kMost = INT64_MAX;

std::string max_or(std::int64_t value) { return value < 0 ? "max" : std::to_string(value); }

// Adds a file for a number that is there; -1 is "no limit".
void add_limit(const JsonNode& node, const std::string& file, Resources& resources) {
  if (node.is_there()) resources.files.push_back({file, max_or(node.integer(-1, kMost))});
}

void add_text(const JsonNode& node, const std::string& file, Resources& resources) {
  if (const std::string text = text_or(node, ""); !text.empty()) {
    resources.files.push_back({file, text});
  }
}

void read_memory(const JsonNode& node, Resources& resources, std::vector<std::string>& unknown) {
  if (!node.is_there()) return;
  note_unknown(node,
               {"limit", "reservation", "swap", "kernel", "kernelTCP", "swappiness",
                "disableOOMKiller", "useHierarchy", "checkBeforeUpdate"},
               unknown);
  // Of cgroup v1 alone. useHierarchy is how v2 always is.
  refuse_what_is_not_done(node, {"kernel", "kernelTCP", "swappiness", "disableOOMKiller"});
  add_limit(node.at("limit"), "memory.max", resources);
  add_limit(node.at("reservation"), "memory.low", resources);
  const JsonNode swap = node.at("swap");
  if (asks_for_nothing(swap)) return;
  // There it is of memory and swap together, here of swap alone.
  const std::int64_t both = swap.integer(-1, kMost);
  if (both < 0) {
    resources.files.push_back({"memory.swap.max", "max"});
    return;
  }
  const JsonNode limit = node.at("limit");
  if (!limit.is_there() || limit.integer(-1, kMost) <= 0) {
    swap.refuse("a limit of memory and swap needs one of memory");
  }
  if (both < limit.integer(-1, kMost)) swap.refuse("is smaller than the limit of memory");
  resources.files.push_back({"memory.swap.max", std::to_string(both - limit.integer(-1, kMost))});
}

// Of v1's range, 2 to 262144, to v2's, 1 to 10000, as runc and crun do it.
std::uint64_t weight_of_shares(std::uint64_t shares) {
  constexpr std::uint64_t kLeast = 2;
  constexpr std::uint64_t kLargest = 262144;
  return 1 + (std::clamp(shares, kLeast, kLargest) - kLeast) * 9999 / (kLargest - kLeast);
}

void read_cpu(const JsonNode& node, Resources& resources, std::vector<std::string>& unknown) {
  if (!node.is_there()) return;
  note_unknown(node,
               {"shares", "quota", "burst", "period", "realtimeRuntime", "realtimePeriod", "cpus",
                "mems", "idle"},
               unknown);
  refuse_what_is_not_done(node, {"realtimeRuntime", "realtimePeriod"});
  if (!asks_for_nothing(node.at("shares"))) {
    resources.files.push_back(
        {"cpu.weight", std::to_string(weight_of_shares(node.at("shares").number()))});
  }
  const JsonNode quota = node.at("quota");
  const JsonNode period = node.at("period");
  constexpr std::uint64_t kDefaultPeriod = 100'000;  // microseconds
  if (!asks_for_nothing(quota) || !asks_for_nothing(period)) {
    const std::uint64_t length = asks_for_nothing(period) ? kDefaultPeriod : period.number();
    const std::int64_t time = asks_for_nothing(quota) ? -1 : quota.integer(-1, kMost);
    resources.files.push_back({"cpu.max", fmt::format("{} {}", max_or(time), length)});
  }
  if (node.at("burst").is_there()) {
    resources.files.push_back({"cpu.max.burst", std::to_string(node.at("burst").number())});
  }
  if (node.at("idle").is_there()) {
    resources.files.push_back({"cpu.idle", std::to_string(node.at("idle").integer(0, 1))});
  }
  add_text(node.at("cpus"), "cpuset.cpus", resources);
  add_text(node.at("mems"), "cpuset.mems", resources);
}

std::string device_of(const JsonNode& node) {
  return fmt::format("{}:{}", node.at("major").number(kMostDeviceNumber),
                     node.at("minor").number(kMostDeviceNumber));
}

void read_block_io(const JsonNode& node, Resources& resources, std::vector<std::string>& unknown) {
  if (!node.is_there()) return;
  note_unknown(node,
               {"weight", "leafWeight", "weightDevice", "throttleReadBpsDevice",
                "throttleWriteBpsDevice", "throttleReadIOPSDevice", "throttleWriteIOPSDevice"},
               unknown);
  refuse_what_is_not_done(node, {"leafWeight", "weightDevice"});
  constexpr std::uint64_t kMostWeight = 1000;
  if (!asks_for_nothing(node.at("weight"))) {
    resources.files.push_back(
        {"io.bfq.weight", std::to_string(node.at("weight").number(kMostWeight))});
  }
  constexpr std::pair<const char*, const char*> kThrottles[] = {
      {"throttleReadBpsDevice", "rbps"},
      {"throttleWriteBpsDevice", "wbps"},
      {"throttleReadIOPSDevice", "riops"},
      {"throttleWriteIOPSDevice", "wiops"},
  };
  for (const auto& [key, name] : kThrottles) {
    for (const JsonNode& item : node.at(key).items()) {
      note_unknown(item, {"major", "minor", "rate"}, unknown);
      const std::uint64_t rate = item.at("rate").number();
      resources.files.push_back({"io.max", fmt::format("{} {}={}", device_of(item), name,
                                                       rate == 0 ? "max" : std::to_string(rate))});
    }
  }
}

void read_hugepages(const JsonNode& node, Resources& resources, std::vector<std::string>& unknown) {
  for (const JsonNode& item : node.items()) {
    note_unknown(item, {"pageSize", "limit"}, unknown);
    const std::string size = item.at("pageSize").text();
    if (size.empty() || !std::all_of(size.begin(), size.end(),
                                     [](unsigned char c) { return std::isalnum(c) != 0; })) {
      item.at("pageSize").refuse("is not a size, as 2MB");
    }
    resources.files.push_back(
        {"hugetlb." + size + ".max", std::to_string(item.at("limit").number())});
  }
}

void read_rdma(const JsonNode& node, Resources& resources, std::vector<std::string>& unknown) {
  for (const auto& [device, limits] : node.members()) {
    note_unknown(limits, {"hcaHandles", "hcaObjects"}, unknown);
    std::string line = device;
    if (limits.at("hcaHandles").is_there()) {
      line += fmt::format(" hca_handle={}", limits.at("hcaHandles").number());
    }
    if (limits.at("hcaObjects").is_there()) {
      line += fmt::format(" hca_object={}", limits.at("hcaObjects").number());
    }
    resources.files.push_back({"rdma.max", line});
  }
}

void read_unified(const JsonNode& node, Resources& resources) {
  for (const auto& [name, value] : node.members()) {
    const bool is_file = !name.empty() && name.find('/') == std::string::npos &&
                         name.find('.') != std::string::npos && name.front() != '.';
    // The core's own files move processes and kill them; they are no resources.
    if (!is_file || name.starts_with("cgroup.")) value.refuse("is not the file of a resource");
    resources.files.push_back({name, text_or(value, "")});
  }
}

std::optional<std::uint32_t> device_number(const JsonNode& node) {
  if (!node.is_there()) return std::nullopt;
  const std::int64_t number = node.integer(-1, static_cast<std::int64_t>(kMostDeviceNumber));
  return number < 0 ? std::nullopt : std::optional(static_cast<std::uint32_t>(number));
}

DeviceRule read_device_rule(const JsonNode& node, std::vector<std::string>& unknown) {
  note_unknown(node, {"allow", "type", "major", "minor", "access"}, unknown);
  DeviceRule rule;
  rule.allow = node.at("allow").is_true();
  const std::string type = text_or(node.at("type"), "a");
  if (type != "a" && type != "b" && type != "c" && !type.empty()) {
    node.at("type").refuse("unknown type " + type);
  }
  rule.type = type.empty() ? 'a' : type.front();
  rule.major = device_number(node.at("major"));
  rule.minor = device_number(node.at("minor"));
  const std::string access = text_or(node.at("access"), "rwm");
  for (const char letter : access.empty() ? "rwm" : access) {
    if (letter == 'r') rule.read = true;
    if (letter == 'w') rule.write = true;
    if (letter == 'm') rule.make = true;
    if (letter != 'r' && letter != 'w' && letter != 'm') {
      node.at("access").refuse("is made of r, w and m, not of " + std::string(1, letter));
    }
  }
  return rule;
}

}  // namespace

std::vector<std::string> Resources::controllers() const {
  std::vector<std::string> names;
  for (const ControlFile& file : files) {
    const std::string name = file.name.substr(0, file.name.find('.'));
    if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
  }
  return names;
}

Resources read_resources(const JsonNode& node, std::vector<std::string>& unknown) {
  Resources resources;
  if (!node.is_there()) return resources;
  note_unknown(node,
               {"devices", "memory", "cpu", "pids", "blockIO", "hugepageLimits", "network", "rdma",
                "unified"},
               unknown);
  // The network's are of cgroup v1 alone.
  refuse_what_is_not_done(node, {"network"});
  for (const JsonNode& item : node.at("devices").items()) {
    resources.devices.push_back(read_device_rule(item, unknown));
  }
  read_memory(node.at("memory"), resources, unknown);
  read_cpu(node.at("cpu"), resources, unknown);
  if (node.at("pids").is_there()) {
    note_unknown(node.at("pids"), {"limit"}, unknown);
    const JsonNode limit = node.at("pids").at("limit");
    if (limit.is_there()) {
      const std::int64_t most = limit.integer();
      resources.files.push_back({"pids.max", most <= 0 ? "max" : std::to_string(most)});
    }
  }
  read_block_io(node.at("blockIO"), resources, unknown);
  read_hugepages(node.at("hugepageLimits"), resources, unknown);
  read_rdma(node.at("rdma"), resources, unknown);
  read_unified(node.at("unified"), resources);
  return resources;
}

}  // namespace box
