#include "stages/11_oci/user_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
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
#include "stages/04_namespaces/namespaces.h"
#include "stages/05_userns/id_map.h"

namespace box {
namespace {

// A process that does nothing but be in a user namespace, in which `fork_call` has made it.
class Holder {
 public:
  Holder(const std::string& call, const std::function<pid_t()>& fork_call) {
    const pid_t parent = getpid();
    pid_ = check(fork_call(), "{}", call);
    if (pid_ != 0) return;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (getppid() == parent) (void)pause();
    _exit(0);
  }
  ~Holder() {
    (void)kill(pid_, SIGKILL);
    (void)TEMP_FAILURE_RETRY(waitpid(pid_, nullptr, 0));
  }
  Holder(const Holder&) = delete;
  Holder& operator=(const Holder&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
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

UniqueFd open_namespace(const NamespaceToJoin& joined) {
  UniqueFd fd(check_quietly(open(joined.path.c_str(), O_RDONLY | O_CLOEXEC),
                            "linux.namespaces: open({})", joined.path));
  if (ioctl(fd.get(), NS_GET_NSTYPE) != joined.flag) {
    throw Failure("linux.namespaces: " + joined.path + " is no namespace of that type");
  }
  return fd;
}

UniqueFd user_namespace_with(const IdMap& uid_map, const IdMap& gid_map) {
  const Holder holder("clone3(CLONE_NEWUSER)", [] { return clone_process(CLONE_NEWUSER); });
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
  const UniqueFd space = open_namespace(*joined);
  const Holder holder("linux.namespaces: setns(" + joined->path + ")",
                      [&] { return clone_in(space, 0, 0); });
  take_ids_of(holder.pid(), config);
}

pid_t clone_in(const UniqueFd& user_namespace, std::uint64_t flags, int cgroup) {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  const UniqueFd ours(ends[0]);
  UniqueFd its(ends[1]);
  struct {
    pid_t born = -1;
    int error = 0;
  } report;
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
