// Stage 11: the root file system of a container, with the mounts and devices of its config.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "common/unique_fd.h"
#include "stages/05_userns/handshake.h"
#include "stages/06_pivot_root/mounts.h"
#include "stages/11_oci/config.h"
#include "stages/11_oci/console.h"
#include "stages/11_oci/container_namespaces.h"

namespace box {

// What is to be mounted, in the order in which it is used.
class ContainerMounts {
 public:
  // `cgroup` is the directory of the container's cgroup, or "".
  ContainerMounts(const Config& config, std::string cgroup);

  // In the parent: detached copies of all that comes from the host. The parent makes them because
  // root in a user namespace may not walk into every directory; but it makes them of the child's
  // mounts, see in_mounts_of(). None of them is reached by a path of the container's. An ordinary
  // user's child makes them itself: it is root of its own namespaces, and may walk into all that
  // its user may. Then this returns none.
  [[nodiscard]] MountsByPath take_as_parent(pid_t child) const;

  // In the child, as root of its namespaces, while the host's /proc is visible: makes the new file
  // systems. In a user namespace the kernel mounts a /proc only beside one that is fully visible,
  // see mount_namespaces(7).
  void make_new(MountsByPath shown, const ContainerNamespaces& namespaces);

  // In the child: the root for pivot_into().
  [[nodiscard]] const UniqueFd& root() const { return root_; }

  // In the child, in its root: attaches the mounts in the config's order, makes the devices and
  // opens the terminal. Each path is resolved in the root, and what is mounted is mounted on the
  // descriptor that was found.
  void attach(Console& console, const ContainerNamespaces& namespaces);
  // In the child: writes the settings of its namespaces.
  void write_sysctl() const;
  // In the child, at the end: masks, read-only paths, the root's propagation and mode.
  void protect();

 private:
  [[nodiscard]] MountsByPath copies() const;
  [[nodiscard]] UniqueFd make(const ConfigMount& mount, std::size_t index, MountsByPath& shown);
  void attach_one(const ConfigMount& mount, const UniqueFd& fd, const UniqueFd& root);
  void make_devices(const UniqueFd& root);
  void make_device(const UniqueFd& root, const ConfigDevice& device);
  void attach_console(const UniqueFd& root, const UniqueFd& terminal) const;
  [[nodiscard]] bool binds_devices() const;

  const Config& config_;
  std::string cgroup_;
  UniqueFd root_;
  UniqueFd null_;                 // the host's null device, read-only: it covers files
  std::vector<UniqueFd> mounts_;  // of config_.mounts
  std::vector<std::pair<std::string, UniqueFd>> devices_;  // the host's
  UniqueFd proc_;                                          // the container's
  const UniqueFd* devpts_ = nullptr;
};

}  // namespace box
