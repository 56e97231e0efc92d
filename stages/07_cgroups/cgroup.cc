#include "stages/07_cgroups/cgroup.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <optional>

#include "common/check.h"
#include "common/write_file.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/06_pivot_root/mounts.h"
#include "stages/07_cgroups/hierarchy.h"

namespace box {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "containers-under-the-hood-";
constexpr const char* kInside = "/sys/fs/cgroup";

UniqueFd open_directory(const std::string& path) {
  return UniqueFd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

bool lock(const UniqueFd& directory) { return flock(directory.get(), LOCK_EX | LOCK_NB) == 0; }

// The number in a file of `cgroup` behind `key`, or the file's only number if that is "". Nothing,
// if this kernel or this cgroup has no such file or key.
std::optional<std::uint64_t> number_in(const std::string& cgroup, const std::string& name,
                                       const std::string& key = "") {
  std::ifstream file(cgroup + "/" + name);
  std::string word;
  std::uint64_t number = 0;
  if (key.empty()) return file >> number ? std::optional(number) : std::nullopt;
  while (file >> word >> number) {
    if (word == key) return number;
  }
  return std::nullopt;
}

// A process that was killed is in its cgroup until it is dead indeed; then cgroup.events changes,
// which poll(2) tells as POLLPRI, see cgroups(7).
void wait_until_empty(const std::string& cgroup) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  const UniqueFd events(open((cgroup + "/cgroup.events").c_str(), O_RDONLY | O_CLOEXEC));
  char text[128] = {};
  while (pread(events.get(), text, sizeof text - 1, 0) > 0 &&
         std::string_view(text).find("populated 0") == std::string_view::npos &&
         std::chrono::steady_clock::now() < end) {
    pollfd event = {events.get(), POLLPRI, 0};
    (void)poll(&event, 1, 100);
  }
}

// The container may have made cgroups in its own. Files of a cgroup go with its directory.
void remove_directories(const std::string& cgroup) {
  for (const auto& entry : fs::directory_iterator(cgroup)) {
    if (entry.is_directory()) remove_directories(entry.path());
  }
  check(rmdir(cgroup.c_str()), "rmdir({})", cgroup);
}

void remove_cgroup(const std::string& cgroup) {
  // All of it at once, however fast it forks. The end of the PID namespace has done it already
  // where the kernel does not know this file yet (before Linux 5.14).
  if (access((cgroup + "/cgroup.kill").c_str(), W_OK) == 0)
    write_file(cgroup + "/cgroup.kill", "1");
  wait_until_empty(cgroup);
  remove_directories(cgroup);
}

// What carries our name and is not locked has lost its parent to a SIGKILL. Other users' stay, as
// does what cannot be removed: that is no reason not to start.
void remove_leftovers(const std::string& parent) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent, ignored)) {
    if (entry.path().filename().string().rfind(kPrefix, 0) != 0) continue;
    const UniqueFd directory = open_directory(entry.path());
    if (directory.get() == -1 || !lock(directory)) continue;
    try {
      remove_cgroup(entry.path());
    } catch (const std::exception& e) {
      trace(std::string("left: ") + e.what());
    }
  }
}

// Makes a new directory in `parent`, and opens and locks it. Between the mkdir() and the lock
// somebody else may take it for a leftover and remove it: then another.
UniqueFd make_cgroup(const std::string& parent, std::string& path) {
  constexpr int kAttempts = 100;
  for (int i = 0; i < kAttempts; ++i) {
    // The number is for people. It is not unique: others may be in PID namespaces of their own.
    path = fmt::format("{}/{}{}", parent, kPrefix, getpid()) + (i > 0 ? fmt::format("-{}", i) : "");
    const int made = mkdir(path.c_str(), 0755);
    if (made == -1 && errno == EEXIST) continue;
    check(made, "mkdir({})", path);
    UniqueFd directory = open_directory(path);
    if (directory.get() != -1 && lock(directory) &&
        faccessat(directory.get(), "cgroup.procs", F_OK, 0) == 0) {
      return directory;
    }
  }
  throw Failure("no cgroup could be kept in " + parent);
}

// A cgroup has the files of a controller once the one above it hands that controller on. It is
// never taken back: the cgroups of others would lose their limits.
void hand_on(const std::string& parent, const std::vector<std::string>& controllers) {
  std::string words;
  for (const auto& name : missing_in(parent + "/cgroup.subtree_control", controllers)) {
    words += (words.empty() ? "+" : " +") + name;
  }
  if (!words.empty()) write_file(parent + "/cgroup.subtree_control", words);
}

}  // namespace

Cgroup::Cgroup(const CgroupOptions& options) : stats_(options.stats) {
  try {
    const Hierarchy hierarchy = find_hierarchy();
    const std::string parent = find_parent_cgroup(hierarchy, options.controllers());
    remove_leftovers(parent);
    hand_on(parent, options.controllers());
    directory_ = make_cgroup(parent, path_);
    set_limits(options);
    if (options.any() && !hierarchy.nsdelegate) {
      warn("cgroup v2 is mounted without nsdelegate: root in the container can lift its limits",
           "sudo mount -o remount,nsdelegate " + hierarchy.mount_point);
    }
  } catch (const Failure& failure) {
    remove();
    if (options.any()) throw;
    trace(std::string("no cgroup of its own: ") + failure.what());
  }
}

Cgroup::~Cgroup() { remove(); }

void Cgroup::set_limits(const CgroupOptions& options) const {
  const auto set = [this](const char* file, const std::string& value) {
    if (!value.empty()) write_file(path_ + "/" + file, value);
  };
  set("cpu.max", options.cpu_max);
  set("memory.max", options.memory_max);
  if (!options.memory_max.empty()) {
    // Swap is counted by itself: without this line the container would go on in it.
    if (access((path_ + "/memory.swap.max").c_str(), F_OK) == 0) set("memory.swap.max", "0");
    // All or nothing: half a container, with some of its processes gone, is of no use.
    set("memory.oom.group", "1");
  }
  set("pids.max", options.pids_max);
  for (const auto& limit : options.io_max) set("io.max", limit);
}

void Cgroup::enter_namespace() const {
  // The cgroup in which we are at this moment becomes the root of the namespace. CLONE_NEWCGROUP
  // among the flags of clone3(2) would do for a child that is born in its cgroup; for one that is
  // moved there, see start_child_in(), the root would be the caller's.
  check(unshare(CLONE_NEWCGROUP), "unshare(CLONE_NEWCGROUP)");
  if (access(kInside, F_OK) == -1 && errno == ENOENT) return;  // a kernel without cgroups
  // On top of the host's cgroups, which came with /sys. mount(2) would refuse: it takes no file
  // system twice in one place.
  attach_at(new_mount(is_own() ? "cgroup2" : "tmpfs",
                      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC),
            kInside);
}

void Cgroup::add(pid_t process) const {
  write_file(path_ + "/cgroup.procs", std::to_string(process));
}

int Cgroup::finish(int exit_status) {
  if (is_own()) {
    tell_of_out_of_memory();
    if (stats_) tell_stats();
    remove();
  }
  return exit_status;
}

void Cgroup::tell_of_out_of_memory() const {
  if (number_in(path_, "memory.events", "oom_kill").value_or(0) == 0) return;
  if (const auto most = number_in(path_, "memory.max")) {
    warn(fmt::format("out of memory: it needed more than {} bytes, and was killed", *most),
         "--memory gives it more");
  } else {
    warn("out of memory: the machine's memory was used up, and it was killed", "");
  }
}

void Cgroup::tell_stats() const {
  constexpr double kMicroseconds = 1e6;
  const auto tell = [](const char* what, const std::string& value) {
    warn(fmt::format("{:<12} {}", what, value), "");
  };
  const auto seconds = [&](const char* key) {
    const auto time = number_in(path_, "cpu.stat", key).value_or(0);
    return fmt::format("{:.3f} s", static_cast<double>(time) / kMicroseconds);
  };
  tell("CPU time", seconds("usage_usec"));
  tell("throttled", seconds("throttled_usec"));
  const auto peak = number_in(path_, "memory.peak");
  tell("peak memory", peak ? fmt::format("{:.1f} MiB", static_cast<double>(*peak) / (1 << 20))
                           : "not told by this kernel: since Linux 5.19");
  tell("OOM kills", std::to_string(number_in(path_, "memory.events", "oom_kill").value_or(0)));
}

void Cgroup::remove() noexcept {
  if (!is_own()) return;
  try {
    remove_cgroup(path_);
  } catch (const std::exception& e) {
    warn(e.what(), "the next start tries again");
  }
  directory_.close();
}

Child start_child_in(std::uint64_t namespaces, const Cgroup& cgroup,
                     const std::function<void()>& body) {
  if (!cgroup.is_own()) return start_child_in(namespaces, body);
  const auto clone = [&] {
    const pid_t born_inside = clone_process(namespaces | CLONE_INTO_CGROUP, cgroup.directory());
    if (born_inside != -1 || (errno != ENOSYS && errno != EINVAL && errno != E2BIG)) {
      return born_inside;
    }
    // A kernel before 5.7, or a sandbox that plays one: then it is moved, while it waits for
    // Handshake::let_child_go_on().
    const pid_t moved = clone_process(namespaces);
    if (moved > 0) cgroup.add(moved);
    return moved;
  };
  return {"clone3(" + names_of(namespaces | CLONE_INTO_CGROUP) + ")", clone, body};
}

}  // namespace box
