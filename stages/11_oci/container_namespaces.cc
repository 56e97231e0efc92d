#include "stages/11_oci/container_namespaces.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/check.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/04_namespaces/time_namespace.h"
#include "stages/08c_network/network.h"

namespace box {
namespace {

UniqueFd open_namespace(const NamespaceToJoin& joined) {
  UniqueFd fd(check_quietly(open(joined.path.c_str(), O_RDONLY | O_CLOEXEC),
                            "linux.namespaces: open({})", joined.path));
  if (ioctl(fd.get(), NS_GET_NSTYPE) != joined.flag) {
    throw Failure("linux.namespaces: " + joined.path + " is no namespace of that type");
  }
  return fd;
}

void join(const UniqueFd& fd, int flag) {
  check(setns(fd.get(), flag), "setns({})", names_of(static_cast<std::uint64_t>(flag)));
}

}  // namespace

ContainerNamespaces::ContainerNamespaces(const Config& config)
    : config_(config),
      own_pid_(check_quietly(open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC),
                             "open(/proc/self/ns/pid)")) {
  for (const auto& joined : config.joined) {
    joined_.emplace_back(joined.flag, open_namespace(joined));
  }
}

std::uint64_t ContainerNamespaces::at_birth() const {
  // The cgroup namespace's root is the cgroup that one is in when it is made; and time is made in
  // two steps, see enter_time_namespace().
  return config_.new_namespaces &
         ~(static_cast<std::uint64_t>(CLONE_NEWCGROUP) | static_cast<std::uint64_t>(CLONE_NEWTIME));
}

void ContainerNamespaces::enter_for_children() const {
  for (const auto& [flag, fd] : joined_) {
    if (flag == CLONE_NEWPID) join(fd, flag);
  }
}

void ContainerNamespaces::leave_for_children() const {
  for (const auto& [flag, fd] : joined_) {
    if (flag == CLONE_NEWPID) join(own_pid_, flag);
  }
}

void ContainerNamespaces::enter() {
  own_pid_.close();
  for (const auto& [flag, fd] : joined_) {
    if (flag != CLONE_NEWPID) join(fd, flag);
  }
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
