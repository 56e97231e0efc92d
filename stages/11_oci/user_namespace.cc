#include "stages/11_oci/user_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <sstream>

#include "common/check.h"
#include "common/read_file.h"
#include "stages/05_userns/id_map.h"

namespace box {
namespace {

// What a process of its own says when it has done what it is for.
struct Report {
  pid_t born = -1;
  int error = 0;
};

// A process that does nothing but be in a user namespace.
class Holder {
 public:
  // `enter` runs in the process, and returns -1 and errno as a system call does.
  explicit Holder(const std::function<int()>& enter) {
    const pid_t parent = getpid();
    int ends[2];
    check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
    const UniqueFd ours(ends[0]);
    UniqueFd its(ends[1]);
    pid_ = check(fork(), "fork() for a user namespace");
    if (pid_ == 0) {
      (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
      const int error = enter() == 0 ? 0 : errno;
      (void)!write(its.get(), &error, sizeof error);
      while (getppid() == parent) (void)pause();
      _exit(0);
    }
    its.close();
    int error = 0;
    if (TEMP_FAILURE_RETRY(read(ours.get(), &error, sizeof error)) != sizeof error) error = ESRCH;
    if (error == 0) return;
    end();
    throw Failure(error, "a user namespace");
  }
  ~Holder() { end(); }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  void end() const {
    (void)kill(pid_, SIGKILL);
    (void)TEMP_FAILURE_RETRY(waitpid(pid_, nullptr, 0));
  }

  pid_t pid_ = -1;
};

IdMap read_map(pid_t process, const char* name) {
  std::istringstream text(read_file(fmt::format("/proc/{}/{}", process, name)));
  IdMap map;
  for (IdRange range = {}; text >> range.inside >> range.outside >> range.count;) {
    map.push_back(range);
  }
  return map;
}

bool are_same(const IdMap& one, const IdMap& other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                    [](const IdRange& a, const IdRange& b) {
                      return a.inside == b.inside && a.outside == b.outside && a.count == b.count;
                    });
}

const NamespaceToJoin* joined_user_namespace(const Config& config) {
  const auto found =
      std::find_if(config.joined.begin(), config.joined.end(),
                   [](const NamespaceToJoin& joined) { return joined.flag == CLONE_NEWUSER; });
  return found == config.joined.end() ? nullptr : &*found;
}

}  // namespace

UniqueFd user_namespace_with(const IdMap& uid_map, const IdMap& gid_map) {
  const Holder holder([] { return unshare(CLONE_NEWUSER); });
  IdOptions ids;
  ids.uid_map = uid_map;
  ids.gid_map = gid_map;
  write_id_maps(holder.pid(), ids);
  const std::string path = fmt::format("/proc/{}/ns/user", holder.pid());
  return UniqueFd(check_quietly(open(path.c_str(), O_RDONLY | O_CLOEXEC), "open({})", path));
}

void take_ids_of(pid_t process, Config& config) {
  if (joined_user_namespace(config) == nullptr) return;
  const IdMap uid_map = read_map(process, "uid_map");
  const IdMap gid_map = read_map(process, "gid_map");
  if (!config.uid_map.empty() &&
      (!are_same(config.uid_map, uid_map) || !are_same(config.gid_map, gid_map))) {
    throw Failure("linux.uidMappings and gidMappings: the user namespace to join has others");
  }
  config.uid_map = uid_map;
  config.gid_map = gid_map;
  use_maps(config);
}

void take_ids_of_joined(Config& config) {
  const NamespaceToJoin* joined = joined_user_namespace(config);
  if (joined == nullptr) return;
  const std::string what = "linux.namespaces: " + joined->path;
  const UniqueFd space(check_quietly(open(joined->path.c_str(), O_RDONLY | O_CLOEXEC),
                                     "linux.namespaces: open({})", joined->path));
  try {
    const Holder holder([&] { return setns(space.get(), CLONE_NEWUSER); });
    take_ids_of(holder.pid(), config);
  } catch (const Failure& failure) {
    throw Failure(what + ": " + failure.what());
  }
}

pid_t clone_in(const UniqueFd& user_namespace, std::uint64_t flags, int cgroup) {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  const UniqueFd ours(ends[0]);
  UniqueFd its(ends[1]);
  Report report;
  const pid_t first = check(fork(), "fork() for a user namespace");
  if (first == 0) {
    if (setns(user_namespace.get(), CLONE_NEWUSER) == 0) {
      clone_args arguments = {};
      arguments.flags = flags | CLONE_PARENT;
      arguments.cgroup = static_cast<std::uint64_t>(cgroup);
      report.born = static_cast<pid_t>(syscall(SYS_clone3, &arguments, sizeof arguments));
      if (report.born == 0) return 0;
    }
    report.error = errno;
    (void)!write(its.get(), &report, sizeof report);
    _exit(0);
  }
  its.close();
  if (TEMP_FAILURE_RETRY(read(ours.get(), &report, sizeof report)) != sizeof report) {
    report.error = ESRCH;
  }
  (void)TEMP_FAILURE_RETRY(waitpid(first, nullptr, 0));
  errno = report.error;
  return report.born;
}

}  // namespace box
