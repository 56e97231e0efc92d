#include "stages/08c_network/bridge_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>
#include <vector>

#include "common/check.h"

namespace box {
namespace {

namespace fs = std::filesystem;

constexpr int kPatience = 30;          // seconds
constexpr long kInterval = 2'000'000;  // nanoseconds

// Waits for a moment; throws Failure if one of the signals comes.
void wait_a_moment(BridgeLock::For purpose) {
  const timespec moment = {0, kInterval};
  if (purpose == BridgeLock::For::kCleanUp) {
    (void)nanosleep(&moment, nullptr);
    return;
  }
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&signals, signal);
  const int signal = sigtimedwait(&signals, nullptr, &moment);
  if (signal > 0) throw Failure(0, "interrupted", 128 + signal);
}

double now() {
  timespec time = {};
  (void)clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

// flock(2) has no time limit, and a signal that is blocked does not end it.
void lock(const UniqueFd& file, const std::string& path, BridgeLock::For purpose) {
  for (const double end = now() + kPatience;;) {
    if (flock(file.get(), LOCK_EX | LOCK_NB) == 0) return;
    if (errno != EWOULDBLOCK && errno != EINTR) check_quietly(-1, "flock({})", path);
    if (now() > end) {
      throw Failure(fmt::format("the bridge has been locked for {} s, by another start or end of a "
                                "container",
                                kPatience),
                    "lslocks --output PID,COMMAND,PATH shows the process that has " + path);
    }
    wait_a_moment(purpose);
  }
}

// "123" of "/run/containers-under-the-hood/hosts-123".
std::string number_in(const fs::path& path) {
  const std::string name = path.filename();
  return name.substr(name.find('-') + 1);
}

// A namespace with a bridge has at least the process of a container's janitor. A process that has
// more capabilities than we have, so that its namespaces cannot be seen, is no janitor.
std::set<std::string> network_namespaces_of_processes() {
  std::set<std::string> numbers;
  for (const auto& entry : fs::directory_iterator("/proc")) {
    struct stat st = {};
    if (stat((entry.path() / "ns/net").c_str(), &st) == 0) {
      numbers.insert(std::to_string(st.st_ino));
    } else if (errno != ENOENT && errno != ENOTDIR && errno != ESRCH && errno != EACCES) {
      check_quietly(-1, "stat({}/ns/net)", entry.path().native());
    }
  }
  return numbers;
}

}  // namespace

std::string network_namespace_number() {
  struct stat st = {};
  check_quietly(stat("/proc/self/ns/net", &st), "stat(/proc/self/ns/net)");
  return std::to_string(st.st_ino);
}

UniqueFd open_shared_folder() {
  if (mkdir(kSharedFolder, 0755) == 0) {
    check_quietly(chmod(kSharedFolder, 0755), "chmod({})", kSharedFolder);  // whatever the umask
  } else if (errno != EEXIST) {
    check_quietly(-1, "mkdir({})", kSharedFolder);
  }
  UniqueFd folder(check_quietly(open(kSharedFolder, O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                                "open({})", kSharedFolder));
  struct stat st = {};
  check_quietly(fstat(folder.get(), &st), "fstat({})", kSharedFolder);
  if (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    throw Failure(fmt::format("{} is not private to root", kSharedFolder),
                  fmt::format("rm -r {}", kSharedFolder));
  }
  return folder;
}

BridgeLock::BridgeLock(For purpose) {
  const std::string name = "lock-" + network_namespace_number();
  path_ = std::string(kSharedFolder) + "/" + name;
  struct stat st = {};
  do {
    // The last container removes the directory and the file: then our lock is on another file than
    // other processes'.
    const UniqueFd folder = open_shared_folder();
    file_ = UniqueFd(
        openat(folder.get(), name.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (file_.get() == -1 && errno == ENOENT) continue;
    check_quietly(file_.get(), "open({})", path_);
    lock(file_, path_, purpose);
    check_quietly(fstat(file_.get(), &st), "fstat({})", path_);
  } while (st.st_nlink == 0);
  // nft has to inherit the lock: if we are killed in the meantime, the janitor has to wait until
  // the rules are loaded, or it would remove them too early.
  check_quietly(fcntl(file_.get(), F_SETFD, 0), "fcntl({})", path_);
}

void BridgeLock::remove_files_of_the_gone() const {
  const std::string ours = network_namespace_number();
  std::vector<fs::path> others;
  for (const auto& entry : fs::directory_iterator(kSharedFolder)) {
    if (number_in(entry.path()) != ours) others.push_back(entry.path());
  }
  if (others.empty()) return;  // the usual case
  const std::set<std::string> living = network_namespaces_of_processes();
  for (const fs::path& path : others) {
    if (living.count(number_in(path)) == 0) (void)unlink(path.c_str());
  }
}

void BridgeLock::remove_file() {
  if (unlink(path_.c_str()) == -1 && errno != ENOENT) check_quietly(-1, "unlink({})", path_);
  if (rmdir(kSharedFolder) == 0 || errno == ENOENT) return;
  // Another network namespace may have its files there.
  if (errno != ENOTEMPTY) check_quietly(-1, "rmdir({})", kSharedFolder);
}

}  // namespace box
