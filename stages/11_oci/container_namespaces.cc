#include "stages/11_oci/container_namespaces.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <tuple>

#include "common/check.h"
#include "common/descriptors.h"
#include "common/fd_channel.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/04_namespaces/time_namespace.h"
#include "stages/05_userns/id_map.h"
#include "stages/08b_seccomp/capabilities.h"
#include "stages/08c_network/network.h"
#include "stages/11_oci/succession.h"
#include "stages/11_oci/user_namespace.h"

namespace box {
namespace {

// Whether it is the namespace that we are in, see "The /proc/pid/ns/ directory" in namespaces(7).
bool is_ours(const UniqueFd& space, int flag) {
  const char* name = flag == CLONE_NEWNET ? "net" : flag == CLONE_NEWIPC ? "ipc" : "uts";
  struct stat theirs = {};
  struct stat ours = {};
  check(fstat(space.get(), &theirs), "fstat(a namespace)");
  check(stat(fmt::format("/proc/self/ns/{}", name).c_str(), &ours), "stat(/proc/self/ns/{})", name);
  return theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

void join(const UniqueFd& fd, int flag) {
  check(setns(fd.get(), flag), "setns({})", names_of(static_cast<std::uint64_t>(flag)));
}

// In a child of ours, whose child is born in that PID namespace.
[[noreturn]] void mount_among_neighbours(const UniqueFd& pid_namespace, const FdChannel& parent,
                                         const std::function<UniqueFd()>& make) noexcept {
  try {
    close_all_but({pid_namespace.get(), parent.get()});
    forget_environment();
    constexpr CapabilitySet kMayMount = CapabilitySet{1} << CAP_SYS_ADMIN;
    keep_only({.permitted = kMayMount, .effective = kMayMount}, true, IdOptions());
    join(pid_namespace, CLONE_NEWPID);
    const pid_t inside = check(fork(), "fork() for /proc");
    if (inside == 0) {
      parent.send("proc", make().get());
    } else {
      (void)waitpid(inside, nullptr, 0);
    }
  } catch (const std::exception& failure) {
    parent.send(failure.what());
  }
  _exit(0);
}

}  // namespace

ContainerNamespaces::ContainerNamespaces(const Config& config) : config_(config) {
  if (geteuid() != 0 && !config.has_namespace(CLONE_NEWUSER)) {
    throw Failure("linux.namespaces: an ordinary user's container needs a user namespace",
                  "`spec --rootless` writes a config that has one");
  }
  for (const auto& joined : config.joined) {
    UniqueFd fd = open_namespace(joined);
    if ((config.changed_namespaces & static_cast<std::uint64_t>(joined.flag)) != 0 &&
        is_ours(fd, joined.flag)) {
      throw Failure("linux.namespaces: " + joined.path +
                    " is the host's, and linux.sysctl or hostname would change it");
    }
    if (joined.flag == CLONE_NEWPID) {
      // Its /proc is mounted where no other is to be seen, see mount_proc(). Only root may do that:
      // "mount_too_revealing" in the kernel's fs/namespace.c.
      if (!is_root_of_the_host()) {
        throw Failure("linux.namespaces: only root of the host can join a PID namespace");
      }
      pid_ = std::move(fd);
    } else if (joined.flag == CLONE_NEWUSER) {
      user_ = std::move(fd);
    } else {
      joined_.emplace_back(joined.flag, std::move(fd));
    }
  }
}

std::uint64_t ContainerNamespaces::at_birth() const {
  // The cgroup namespace's root is the cgroup that one is in when it is made; and time is made in
  // two steps, see enter_time_namespace().
  return config_.new_namespaces &
         ~(static_cast<std::uint64_t>(CLONE_NEWCGROUP) | static_cast<std::uint64_t>(CLONE_NEWTIME));
}

IdOptions ContainerNamespaces::with_user_namespace(IdOptions ids) const {
  if (user_.get() != -1) {
    ids.clone = [this](std::uint64_t flags, int cgroup) { return clone_in(user_, flags, cgroup); };
  }
  return ids;
}

UniqueFd ContainerNamespaces::mount_proc(const std::function<UniqueFd()>& make) const {
  if (!has_neighbours()) return make();
  FdChannel our_end;
  FdChannel their_end;
  std::tie(our_end, their_end) = FdChannel::make();
  const pid_t first = check(fork(), "fork() for /proc");
  if (first == 0) mount_among_neighbours(pid_, their_end, make);
  their_end.close();
  FdChannel::Message reply;
  const bool replied = our_end.receive(reply);
  (void)waitpid(first, nullptr, 0);
  if (!replied) throw Failure("the process that mounts /proc was killed");
  if (reply.fd.get() == -1) throw Failure(reply.name);
  return std::move(reply.fd);
}

void ContainerNamespaces::enter_for_children() {
  if (!has_neighbours()) return;
  join(pid_, CLONE_NEWPID);
  pid_.close();
}

void ContainerNamespaces::enter() {
  for (const auto& [flag, fd] : joined_) join(fd, flag);
  joined_.clear();
  if ((config_.new_namespaces & CLONE_NEWCGROUP) != 0) {
    check(unshare(CLONE_NEWCGROUP), "unshare(CLONE_NEWCGROUP)");
  }
  if ((config_.new_namespaces & CLONE_NEWTIME) != 0)
    enter_time_namespace_with(config_.time_offsets);
}

void ContainerNamespaces::set_up() const {
  if (!config_.hostname.empty()) set_hostname(config_.hostname);
  if (!config_.domainname.empty()) {
    check(setdomainname(config_.domainname.data(), config_.domainname.size()), "setdomainname({})",
          config_.domainname);
  }
  if ((config_.new_namespaces & CLONE_NEWNET) != 0) bring_up_loopback();
}

}  // namespace box
