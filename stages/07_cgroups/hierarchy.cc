#include "stages/07_cgroups/hierarchy.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <sstream>

#include "common/failure.h"
#include "common/mount_points.h"
#include "common/read_file.h"

namespace box {
namespace {

// For users without cgroup v2: a virtual machine that has it.
std::string vm_hint() {
  return fmt::format("in a virtual machine it works: bazel run //harness/vm -- {} ...",
                     program_invocation_short_name);
}

std::vector<std::string> words_of(std::string_view text) {
  std::istringstream in{std::string(text)};
  return {std::istream_iterator<std::string>(in), {}};
}

bool contains(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// `path` without `root`, which it begins with; "/" for the root itself.
std::optional<std::string> below(const std::string& path, const std::string& root) {
  if (root == "/") return path;
  if (path.rfind(root, 0) != 0) return std::nullopt;
  const std::string rest = path.substr(root.size());
  if (!rest.empty() && rest[0] != '/') return std::nullopt;
  return rest.empty() ? "/" : rest;
}

bool may_write(const std::string& path) { return access(path.c_str(), W_OK) == 0; }

// Only the root of the whole hierarchy has no cgroup.type, see "Core Interface Files".
bool is_root(const std::string& cgroup) {
  return access((cgroup + "/cgroup.type").c_str(), F_OK) == -1;
}

bool has_processes(const std::string& cgroup) {
  return !read_file(cgroup + "/cgroup.procs").empty();
}

// Whether we may make a cgroup there and put a child into it: the kernel requires write access to
// cgroup.procs of the common ancestor of the old and the new cgroup, see "Delegation".
bool may_make_in(const std::string& cgroup) {
  return may_write(cgroup) && may_write(cgroup + "/cgroup.procs");
}

// A child of a threaded cgroup, or of one above a threaded one, is "domain invalid" and cannot
// contain processes, see "Threads" in cgroup-v2.rst. The root has no type, and is neither.
bool is_domain(const std::string& cgroup) {
  const std::string type = read_file(cgroup + "/cgroup.type");
  return type.empty() || type == "domain\n";
}

// "No internal processes", see cgroups(7): a cgroup that enables controllers for its children must
// not contain processes, so that these do not compete with the children. The root may.
bool may_enable(const std::string& cgroup, const std::vector<std::string>& controllers) {
  if (missing_in(cgroup + "/cgroup.subtree_control", controllers).empty()) return true;
  return may_write(cgroup + "/cgroup.subtree_control") &&
         (is_root(cgroup) || !has_processes(cgroup));
}

// Our own cgroup, the one above it, ... up to the mount point.
std::vector<std::string> own_and_above(const Hierarchy& hierarchy) {
  std::vector<std::string> cgroups;
  std::string cgroup = hierarchy.own;
  while (cgroup.size() > hierarchy.mount_point.size()) {
    cgroups.push_back(cgroup);
    cgroup.erase(cgroup.rfind('/'));
  }
  cgroups.push_back(hierarchy.mount_point);
  return cgroups;
}

// Whether a hierarchy of cgroup v1 uses the controller: it can be in only one hierarchy.
bool is_on_v1(const std::string& controller) {
  std::istringstream lines(read_file("/proc/self/cgroup"));
  for (std::string line; std::getline(lines, line);) {
    std::replace(line.begin(), line.end(), ':', ' ');
    std::replace(line.begin(), line.end(), ',', ' ');
    if (contains(words_of(line), controller == "io" ? "blkio" : controller)) return true;
  }
  return false;
}

std::string delegation_hint() {
  const auto uid = geteuid();
  if (access(fmt::format("/run/user/{}/systemd", uid).c_str(), F_OK) == 0) {
    return "systemd gives you cgroups of your own: systemd-run --user --scope -p Delegate=yes "
           "PROGRAM ...";
  }
  if (uid != 0) return "root may make one: start it with sudo; " + vm_hint();
  return vm_hint();
}

// Why none of `cgroups` can be used.
Failure refusal(const Hierarchy& hierarchy, const std::vector<std::string>& cgroups,
                const std::vector<std::string>& controllers) {
  const std::string top = hierarchy.mount_point;
  const auto missing = missing_in(top + "/cgroup.controllers", controllers);
  if (!missing.empty() && is_on_v1(missing[0])) {
    return Failure(fmt::format("the {} controller is in use by cgroup v1 here; this stage needs v2",
                               fmt::join(missing, ", ")),
                   vm_hint());
  }
  if (!missing.empty()) {
    return Failure(fmt::format("there is no {} controller in {}", fmt::join(missing, ", "), top),
                   is_root(top) ? vm_hint()
                                : "start the surrounding container with this"
                                  " controller enabled");
  }
  if (access(top.c_str(), W_OK) == -1 && errno == EROFS) {
    return {EROFS, "a cgroup of its own in " + top, kExitSetupFailed,
            "in Docker: docker run --privileged --cgroupns=private; " + vm_hint()};
  }
  if (std::none_of(cgroups.begin(), cgroups.end(), may_make_in)) {
    return {EACCES, "a cgroup of its own in " + hierarchy.own, kExitSetupFailed, delegation_hint()};
  }
  if (!is_domain(hierarchy.own)) {
    return Failure("no cgroup can be made here: " + hierarchy.own + " has threads of a process",
                   "start it from a cgroup whose cgroup.type is domain");
  }
  for (const auto& cgroup : cgroups) {
    if (!may_make_in(cgroup)) continue;
    const auto kept = missing_in(cgroup + "/cgroup.controllers", controllers);
    if (kept.empty()) continue;
    return Failure(
        fmt::format("the {} controller is not enabled for {}", fmt::join(kept, ", "), cgroup),
        "root can enable it: systemctl edit user@.service, with [Service] and Delegate=cpu io"
        " memory pids");
  }
  return Failure(
      "a cgroup that has processes cannot enable controllers for its children: " + hierarchy.own,
      fmt::format("move them down: mkdir {0}/leaf, and write each number in "
                  "{0}/cgroup.procs to {0}/leaf/cgroup.procs",
                  hierarchy.own));
}

}  // namespace

std::optional<Hierarchy> parse_hierarchy(std::string_view mountinfo, std::string_view cgroup) {
  std::string own;
  std::istringstream cgroup_lines{std::string(cgroup)};
  for (std::string line; std::getline(cgroup_lines, line);) {
    if (line.rfind("0::", 0) == 0) own = line.substr(3);
  }
  std::istringstream lines{std::string(mountinfo)};
  for (std::string line; std::getline(lines, line);) {
    const auto dash = line.find(" - cgroup2 ");
    if (dash == std::string::npos || own.empty()) continue;
    const auto fields = mount_fields(line.substr(0, dash));
    if (fields.size() < 6) continue;
    const std::string mount_point = decode_path(fields[4]);
    const auto rest = below(own, decode_path(fields[3]));  // another mount may show another part
    if (!rest || (*rest + "/").find("/../") != std::string::npos) continue;
    Hierarchy hierarchy;
    hierarchy.mount_point = mount_point;
    hierarchy.own = *rest == "/" ? mount_point : mount_point + *rest;
    hierarchy.nsdelegate = line.find("nsdelegate", dash) != std::string::npos;
    return hierarchy;
  }
  return std::nullopt;
}

Hierarchy find_hierarchy() {
  const auto found = parse_hierarchy(read_file_if_there("/proc/self/mountinfo"),
                                     read_file_if_there("/proc/self/cgroup"));
  if (!found) throw Failure("no cgroup v2 is mounted here, and v1 is not enough", vm_hint());
  return *found;
}

std::string find_parent_cgroup(const Hierarchy& hierarchy,
                               const std::vector<std::string>& controllers) {
  const auto cgroups = own_and_above(hierarchy);
  for (const auto& cgroup : cgroups) {
    if (may_make_in(cgroup) && is_domain(cgroup) &&
        missing_in(cgroup + "/cgroup.controllers", controllers).empty() &&
        may_enable(cgroup, controllers)) {
      return cgroup;
    }
  }
  throw refusal(hierarchy, cgroups, controllers);
}

std::vector<std::string> missing_in(const std::string& path,
                                    const std::vector<std::string>& wanted) {
  const auto there = words_of(read_file(path));
  std::vector<std::string> missing;
  for (const auto& word : wanted) {
    if (!contains(there, word)) missing.push_back(word);
  }
  return missing;
}

}  // namespace box
