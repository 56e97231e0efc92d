#include "stages/07_cgroups/cgroup.h"

#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <limits>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>

#include "common/check.h"
#include "common/read_file.h"
#include "common/remove_tree.h"
#include "common/write_file.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/05_userns/handshake.h"
#include "stages/06_pivot_root/mounts.h"
#include "stages/07_cgroups/hierarchy.h"

namespace box {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPrefix = "containers-under-the-hood-";
constexpr const char* kInside = "/sys/fs/cgroup";

// Locks the cgroup, see flock(2), so that the next start can tell it from one whose parent was
// killed. The lock is on cgroup.kill, which only its owner can open; other users may open the
// directory, and could hold a lock on that for ever. Returns -1 if another process has the lock.
UniqueFd lock(const std::string& cgroup) {
  UniqueFd file(open((cgroup + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
  if (file.get() == -1 && errno == ENOENT) {  // before Linux 5.14
    file = UniqueFd(open(cgroup.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  }
  if (file.get() != -1 && flock(file.get(), LOCK_EX | LOCK_NB) == -1) file.close();
  return file;
}

// A process that was killed stays in its cgroup until it has ended; then cgroup.events changes,
// which poll(2) reports as POLLPRI, see cgroups(7).
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

// `locked` is the descriptor that lock() has returned.
void remove_cgroup(const std::string& cgroup, const UniqueFd& locked) {
  // Usually it is empty by now; this works even without free descriptors and memory.
  if (rmdir(cgroup.c_str()) == 0 || errno == ENOENT) return;
  // This kills all processes at once, however fast they fork. If the kernel has no such file yet,
  // `locked` is the directory, and the end of the PID namespace has killed the processes already.
  if (write(locked.get(), "1", 1) == 1) trace("write(" + cgroup + "/cgroup.kill, \"1\") = 1");
  wait_until_empty(cgroup);
  remove_directories(cgroup);  // the container may have made cgroups in its own
}

// If it cannot be removed, for instance because it belongs to another user, the container starts
// nevertheless.
void remove_if_left(const std::string& cgroup) {
  const UniqueFd locked = lock(cgroup);
  if (locked.get() == -1) return;
  try {
    remove_cgroup(cgroup, locked);
  } catch (const Failure& failure) {
    trace(std::string("left in place: ") + failure.what());
  }
}

// The number of the process that made the cgroup, which is part of its name. It may be a process of
// another PID namespace, which has numbers of its own. nullopt if there is no number.
std::optional<pid_t> maker_of(std::string_view name) {
  name.remove_prefix(kPrefix.size());
  pid_t pid = 0;
  const auto result = std::from_chars(name.data(), name.data() + name.size(), pid);
  return result.ec == std::errc() && pid > 0 ? std::optional(pid) : std::nullopt;
}

// Removes the cgroups whose parent was killed: no process has a lock on them. To try each lock
// would cost each start as many open(2) calls as there are containers. So we try only those whose
// number belongs to no process; and, because numbers are reused, a few of the others, different
// ones at each start.
void remove_leftovers(const std::string& parent) {
  constexpr std::size_t kTriedOfOthers = 8;
  std::vector<std::string> others;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(parent, ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    const auto maker = maker_of(name);
    if (maker && (kill(*maker, 0) == 0 || errno == EPERM)) {
      others.push_back(entry.path());
    } else {
      remove_if_left(entry.path());
    }
  }
  const auto first = static_cast<std::size_t>(getpid());
  for (std::size_t i = 0; i < std::min(kTriedOfOthers, others.size()); ++i) {
    remove_if_left(others[(first + i) % others.size()]);
  }
}

// The lowest limit of a cgroup above `cgroup` on all cgroups below it, and which cgroup that is.
std::pair<std::uint64_t, std::string> memory_limit_above(std::string cgroup) {
  std::pair<std::uint64_t, std::string> least = {std::numeric_limits<std::uint64_t>::max(), ""};
  while (cgroup.rfind('/') != std::string::npos) {
    cgroup.erase(cgroup.rfind('/'));
    const auto limit = number_in(cgroup, "memory.max");  // "max" is not a number
    if (limit && *limit < least.first) least = {*limit, cgroup};
  }
  return least;
}

// In the child. A process inherits two things that limits do not reach: a negative oom_score_adj,
// with which the kernel kills it last, or never if it is -1000, see proc(5); and a real-time
// policy, whose time cpu.max does not count, see the warning under "CPU" in cgroup-v2.rst. To give
// up either needs no right.
void give_up_exemptions_from_limits() {
  const std::string file = "/proc/self/oom_score_adj";
  if (read_file_if_there(file).starts_with('-')) write_file(file, "0");
  const int policy = sched_getscheduler(0);
  check(policy, "sched_getscheduler()");
  if (policy != SCHED_OTHER && policy != SCHED_BATCH && policy != SCHED_IDLE) {
    const sched_param none = {};
    check(sched_setscheduler(0, SCHED_OTHER, &none), "sched_setscheduler(SCHED_OTHER)");
  }
}

}  // namespace

std::optional<std::uint64_t> number_in(const std::string& cgroup, const std::string& name,
                                       const std::string& key) {
  std::istringstream file(read_file(cgroup + "/" + name));
  std::string word;
  std::uint64_t number = 0;
  if (key.empty()) return file >> number ? std::optional(number) : std::nullopt;
  while (file >> word >> number) {
    if (word == key) return number;
  }
  return std::nullopt;
}

// A cgroup has the files of a controller once the one above it has enabled that for its children.
// We never undo that, because the cgroups of other containers would lose their limits.
void enable_controllers(const std::string& parent, const std::vector<std::string>& controllers) {
  std::string words;
  for (const auto& name : missing_in(parent + "/cgroup.subtree_control", controllers)) {
    words += (words.empty() ? "+" : " +") + name;
  }
  if (!words.empty()) write_file(parent + "/cgroup.subtree_control", words);
}

void kill_and_remove_cgroup(const std::string& cgroup) {
  const UniqueFd kill(open((cgroup + "/cgroup.kill").c_str(), O_WRONLY | O_CLOEXEC));
  remove_cgroup(cgroup, kill);
}

Cgroup::Cgroup(const CgroupOptions& options) : limited_(options.any()), stats_(options.stats) {
  try {
    const Hierarchy hierarchy = find_hierarchy();
    const std::string parent = find_parent_cgroup(hierarchy, options.controllers());
    remove_leftovers(parent);
    enable_controllers(parent, options.controllers());
    make_in(parent);
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

// Between the mkdir() and the lock another start may mistake it for a leftover and remove it; then
// we make another one.
void Cgroup::make_in(const std::string& parent) {
  constexpr int kAttempts = 100;
  for (int i = 0; i < kAttempts; ++i) {
    // Processes in other PID namespaces may have our number.
    std::string path =
        fmt::format("{}/{}{}", parent, kPrefix, getpid()) + (i > 0 ? fmt::format("-{}", i) : "");
    const int made = mkdir(path.c_str(), 0755);
    if (made == -1 && errno == EEXIST) continue;
    check(made, "mkdir({})", path);
    const bool mode_set = chmod(path.c_str(), 0755) == 0;  // mkdir() obeys the umask
    lock_ = mode_set ? lock(path) : UniqueFd();
    const bool is_whole = lock_.get() != -1 && access((path + "/cgroup.procs").c_str(), F_OK) == 0;
    const int error = errno;
    if (is_whole) {
      path_ = std::move(path);
      return;
    }
    if (error != ENOENT && error != ENODEV && error != EWOULDBLOCK) {
      (void)rmdir(path.c_str());  // the first failure is the one to report
      throw Failure(error, "lock of the cgroup " + path);
    }
  }
  throw Failure("another start removed each new cgroup in " + parent);
}

Cgroup::~Cgroup() { remove(); }

UniqueFd Cgroup::open_directory() const {
  return UniqueFd(
      check_quietly(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open({})", path_));
}

void Cgroup::set_limits(const CgroupOptions& options) const {
  const auto set = [this](const char* file, const std::string& value) {
    if (!value.empty()) write_file(path_ + "/" + file, value);
  };
  set("cpu.max", options.cpu_max);
  set("memory.max", options.memory_max);
  if (!options.memory_max.empty()) {
    // Swap is counted separately: without this line the container would go on in swap.
    if (file_exists(path_ + "/memory.swap.max")) set("memory.swap.max", "0");
    // All or none: a container that has lost some of its processes is of no use.
    set("memory.oom.group", "1");
  }
  set("pids.max", options.pids_max);
  for (const auto& limit : options.io_max) set("io.max", limit);
}

void Cgroup::enter_namespace() const {
  // The cgroup that we are in at this moment becomes the root of the namespace. CLONE_NEWCGROUP
  // among the flags of clone3(2) would suffice for a child that is born in its cgroup. For one
  // that is moved there, see start_session_in(), the root would be the caller's cgroup.
  check(unshare(CLONE_NEWCGROUP), "unshare(CLONE_NEWCGROUP)");
  if (access(kInside, F_OK) == -1 && errno == ENOENT) return;  // a kernel without cgroups
  // On top of the host's cgroups, which came with /sys. mount(2) would refuse to mount the same
  // file system twice in one place.
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
  // "oom" counts how often the cgroup's own limit was reached, "oom_kill" the victims, whichever
  // cgroup's limit was reached.
  const auto own_limit = number_in(path_, "memory.max");
  if (own_limit && number_in(path_, "memory.events", "oom").value_or(1) > 0) {
    warn(fmt::format("out of memory: the container exceeded {} bytes and was killed", *own_limit),
         "raise the limit with --memory");
    return;
  }
  const auto [limit, cgroup] = memory_limit_above(path_);
  if (cgroup.empty()) {
    warn("out of memory: the machine had none left, so the kernel killed the container", "");
  } else {
    warn(fmt::format(
             "out of memory: all processes in {} together exceeded its limit of {} bytes, and the"
             " container was killed",
             cgroup, limit),
         "--memory cannot raise that limit; raise " + cgroup + "/memory.max");
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
                           : "not reported by this kernel (Linux 5.19 is the first)");
  tell("OOM kills", std::to_string(number_in(path_, "memory.events", "oom_kill").value_or(0)));
}

void Cgroup::remove() noexcept {
  if (!is_own() || let_go_) return;
  try {
    remove_cgroup(path_, lock_);
  } catch (const std::exception& e) {
    warn(e.what(), "the next start tries again");
  }
  path_.clear();
  lock_.close();
}

Child start_session_in(std::uint64_t namespaces, const IdOptions& ids, Cgroup& cgroup,
                       const std::function<void()>& body) {
  if (!cgroup.is_own()) return start_session_in(namespaces, ids, body);
  UniqueFd directory = cgroup.open_directory();
  std::optional<Handshake> until_moved;
  const auto clone = [&] {
    const pid_t born_inside = clone_for(ids, namespaces | CLONE_INTO_CGROUP, directory.get());
    if (born_inside != -1 || (errno != ENOSYS && errno != EINVAL && errno != E2BIG)) {
      return born_inside;
    }
    // A kernel before 5.7, or a sandbox that behaves like one: then the parent moves the child
    // while it waits.
    until_moved.emplace();
    const pid_t moved = clone_for(ids, namespaces);
    if (moved > 0) {
      cgroup.add(moved);
      until_moved->let_child_go_on();
    }
    return moved;
  };
  return {"clone3(" + names_of(namespaces | CLONE_INTO_CGROUP) + ")", clone,
          [&] {
            // If they stayed open, they would lead the container to the host's cgroups, because a
            // path that the container chooses may be looked up before the exec closes them.
            directory.close();
            cgroup.close_in_child();
            if (cgroup.limited_) give_up_exemptions_from_limits();
            if (until_moved) until_moved->wait_for_parent();
            body();
          },
          Child::Leads::kSession};
}

}  // namespace box
