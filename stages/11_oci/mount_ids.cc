#include "stages/11_oci/mount_ids.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "stages/11_oci/user_namespace.h"

namespace box {

void map_ids_of(const UniqueFd& copy, const ConfigMount& mount) {
  // The kernel takes the map from a user namespace.
  const UniqueFd user_namespace = user_namespace_with(mount.uid_map, mount.gid_map);
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<std::uint64_t>(user_namespace.get());
  const unsigned flags = AT_EMPTY_PATH | (mount.maps_ids_below ? AT_RECURSIVE : 0);
  if (mount_setattr(copy.get(), "", flags, &attr, sizeof attr) == 0) return;
  throw Failure(
      errno, fmt::format("mounts: {}: mount_setattr({}, IDMAP)", mount.destination, mount.source),
      kExitSetupFailed,
      geteuid() == 0 ? "the file system there cannot show its files with other owners"
                     : "only root of the host can give a mount ids of its own");
}

}  // namespace box
