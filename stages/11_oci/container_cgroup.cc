#include "stages/11_oci/container_cgroup.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "common/check.h"
#include "common/read_file.h"
#include "common/unique_fd.h"
#include "common/write_file.h"
#include "stages/05_userns/id_map.h"
#include "stages/07_cgroups/cgroup.h"
#include "stages/07_cgroups/hierarchy.h"

namespace box {
namespace {

namespace fs = std::filesystem;

// Whether the machine need not have this file: no limit is what holds without it.
bool may_be_missing(const ControlFile& file) { return file.value == "max"; }

std::vector<std::string> needed_controllers(const Resources& resources) {
  Resources needed;
  std::copy_if(resources.files.begin(), resources.files.end(), std::back_inserter(needed.files),
               [](const ControlFile& file) { return !may_be_missing(file); });
  return needed.controllers();
}

// A cgroup must not be made outside the hierarchy.
void check_path(const std::string& path) {
  for (const auto& part : fs::path(path)) {
    if (part == "..") throw Failure("linux.cgroupsPath: " + path + " contains ..");
  }
  if (path.find(':') != std::string::npos) {
    throw Failure("linux.cgroupsPath: " + path +
                  " is for systemd, which this runtime does not ask"
                  " for cgroups");
  }
}

std::string path_in_hierarchy(const Config& config, const std::string& id,
                              const std::vector<std::string>& controllers) {
  const Hierarchy hierarchy = find_hierarchy();
  const std::string& path = config.cgroups_path;
  if (!path.starts_with('/')) {
    return find_parent_cgroup(hierarchy, controllers) + "/" + (path.empty() ? id : path);
  }
  const auto missing = missing_in(hierarchy.mount_point + "/cgroup.controllers", controllers);
  if (!missing.empty()) {
    throw Failure(fmt::format("there is no {} controller in {}", fmt::join(missing, ", "),
                              hierarchy.mount_point));
  }
  return hierarchy.mount_point + fs::path(path).lexically_normal().string();
}

bool is_populated(const std::string& cgroup) {
  return read_file(cgroup + "/cgroup.events").find("populated 1") != std::string::npos;
}

}  // namespace

std::string choose_cgroup(const Config& config, const std::string& id, CgroupManager manager) {
  check_path(config.cgroups_path);
  const auto controllers = needed_controllers(config.resources);
  if (manager == CgroupManager::kDisabled) {
    if (controllers.empty()) return "";
    throw Failure(fmt::format("linux.resources: cgroups are disabled, and there are limits of {}",
                              fmt::join(controllers, ", ")));
  }
  try {
    return path_in_hierarchy(config, id, controllers);
  } catch (const Failure& failure) {
    if (!controllers.empty() || (!config.resources.devices.empty() && is_root_of_the_host())) {
      throw Failure(std::string("linux.resources: ") + failure.what());
    }
    trace(std::string("no cgroup of its own: ") + failure.what());
    return "";
  }
}

void make_cgroup(const std::string& cgroup, const Resources& resources) {
  if (cgroup.empty()) return;
  const std::string top = find_hierarchy().mount_point;
  const auto controllers = needed_controllers(resources);
  for (std::size_t at = top.size(); at != std::string::npos;) {
    enable_controllers(cgroup.substr(0, at), controllers);
    at = cgroup.find('/', at + 1);
    const std::string part = cgroup.substr(0, at);
    const int made = mkdir(part.c_str(), 0755);
    if (made == -1 && errno != EEXIST) check(made, "mkdir({})", part);
  }
  // Its processes would be killed with the container.
  if (is_populated(cgroup)) throw Failure("the cgroup " + cgroup + " has processes already");
  set_resources(cgroup, resources);
  // A device cannot be opened in a user namespace that did not get it from outside.
  if (!resources.devices.empty() && is_root_of_the_host()) {
    std::vector<DeviceRule> rules = resources.devices;
    const auto more = default_device_rules();
    rules.insert(rules.end(), more.begin(), more.end());
    attach_device_program(cgroup, rules);
  }
}

void set_resources(const std::string& cgroup, const Resources& resources) {
  for (const ControlFile& file : resources.files) {
    const std::string path = cgroup + "/" + file.name;
    if (may_be_missing(file) && !file_exists(path)) continue;
    write_file(path, file.value);
  }
}

void freeze(const std::string& cgroup, bool frozen) {
  write_file(cgroup + "/cgroup.freeze", frozen ? "1" : "0");
  const std::string wanted = frozen ? "frozen 1" : "frozen 0";
  const UniqueFd events(open((cgroup + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  constexpr int kAttempts = 100;  // of 100 ms
  char text[128] = {};
  for (int i = 0; i < kAttempts; ++i) {
    // By this descriptor, because poll(2) reports what has changed since it was read.
    if (pread(events.get(), text, sizeof text - 1, 0) <= 0) break;
    if (std::string_view(text).find(wanted) != std::string_view::npos) return;
    pollfd event = {events.get(), POLLPRI, 0};
    (void)poll(&event, 1, 100);
  }
  throw Failure("the processes in " + cgroup + " did not " + (frozen ? "stop" : "go on"));
}

std::vector<pid_t> processes_in(const std::string& cgroup) {
  std::vector<pid_t> processes;
  // One after the other, because the container may have nested more cgroups than we may have
  // descriptors.
  std::vector<std::string> folders = {cgroup};
  for (std::size_t i = 0; i < folders.size(); ++i) {
    std::ifstream file(folders[i] + "/cgroup.procs");
    for (pid_t process = 0; file >> process;) processes.push_back(process);
    std::error_code gone;  // one may be removed meanwhile
    for (fs::directory_iterator it(folders[i], gone), end; !gone && it != end; it.increment(gone)) {
      std::error_code ignored;
      if (it->is_directory(ignored)) folders.push_back(it->path());
    }
  }
  std::sort(processes.begin(), processes.end());
  return processes;
}

}  // namespace box
