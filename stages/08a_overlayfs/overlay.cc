#include "stages/08a_overlayfs/overlay.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <utility>

#include "common/check.h"
#include "common/mount_points.h"
#include "common/open_in_root.h"
#include "common/read_file.h"
#include "stages/06_pivot_root/mounts.h"

namespace box {
namespace {

// fsconfig(2) accepts values of up to 255 bytes.
constexpr std::size_t kLongestValue = 255;

// Opens the directory `name` of `above`, and makes it first if it is missing: with --keep this may
// be the second run.
UniqueFd make_folder(const UniqueFd& above, const std::string& name, mode_t mode) {
  const bool made = mkdirat(above.get(), name.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) {
    const int error = errno;
    throw Failure(error, "mkdir(" + name + ")", kExitSetupFailed,
                  error != EACCES ? ""
                                  : "give the directory of --keep to the user that --uid-map makes "
                                    "root inside: sudo chown UID DIR");
  }
  // Without following a link, because overlayfs would write to its target.
  UniqueFd folder(check_quietly(
      openat(above.get(), name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
      "open({})", name));
  if (made)
    check_quietly(fchmod(folder.get(), mode), "chmod({})", name);  // mkdir() obeys the umask
  return folder;
}

// Mount points below `folder`.
std::string mounted_below(const std::string& folder) {
  for (const std::string& point : mount_points()) {
    if (point != folder && is_in(point, folder)) return point;
  }
  return "";
}

UniqueFd open_folder(const std::string& path) { return open_resolved(path, O_DIRECTORY); }

// The kernel returns little more than EINVAL; the reason is only in its log.
std::string hint_for(const Failure& failure, const OpenLayers& layers, const std::string& names) {
  if (read_file("/proc/filesystems").find("\toverlay\n") == std::string::npos) {
    return "this kernel has no overlayfs: sudo modprobe overlay";
  }
  if (failure.error() == EPERM) {
    return "this kernel does not allow overlayfs in user namespaces; Linux 5.11 was the first to"
           " do so: fuse-overlayfs(1) stacks the layers without it; give the result to stage 06's"
           " --rootfs";
  }
  if (failure.error() == EINVAL && names.size() > kLongestValue) {
    return fmt::format("Linux 6.7 was the first to accept as many layers as {}",
                       layers.paths.size());
  }
  for (const auto& path : layers.paths) {
    if (const std::string point = mounted_below(path); !point.empty()) {
      return "something is mounted in the layer " + path + ", at " + point +
             ", and in a user namespace no mount may reveal what another mount hides";
    }
  }
  struct statfs fs = {};
  if (layers.upper.fd.get() != -1 && fstatfs(layers.upper.fd.get(), &fs) == 0 &&
      fs.f_type == OVERLAYFS_SUPER_MAGIC) {
    return "the container's changes cannot be stored in another overlayfs: choose a --keep DIR"
           " elsewhere";
  }
  return "";
}

}  // namespace

OpenLayers take_layers(Layers& layers, MountsByPath& shown) {
  OpenLayers open;
  for (const auto& path : layers.folders) {
    UniqueFd mount = take(shown, path);
    const bool is_mount = mount.get() != -1;
    open.folders.push_back({is_mount ? std::move(mount) : open_folder(path), is_mount});
  }
  if (layers.upper) {
    UniqueFd mount = take(shown, layers.upper->path());
    open.upper.is_mount = mount.get() != -1;
    open.upper.fd = layers.upper->open_in_child(std::move(mount));
  }
  open.paths = layers.folders;
  open.volumes = layers.volumes;
  layers.in_use.clear();  // the parent has the locks
  return open;
}

// The plan: attach a tmpfs over the old root. In it overlayfs finds all directories by short names,
// which are links to our descriptors, because fsconfig(2) does not accept long ones. The tmpfs has
// to be attached, because before Linux 6.15 overlayfs accepts directories only from mounts of our
// mount namespace; and it has to be detached after the overlay is mounted, because pivot_into()
// unmounts the topmost mount, which has to be the old root. The overlay keeps its references to the
// tmpfs and the directories.
UniqueFd mount_overlay(OpenLayers& layers) {
  const UniqueFd scratch =
      new_mount("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, {{"mode", "0700"}});
  attach_at(scratch, "/");
  check(fchdir(scratch.get()), "fchdir(the tmpfs)");

  std::string names;  // the uppermost layer comes first
  const auto link = [](const UniqueFd& folder, const std::string& name) {
    const std::string target = fmt::format("/proc/self/fd/{}", folder.get());
    check(symlink(target.c_str(), name.c_str()), "symlink({}, {})", target, name);
  };
  const auto place = [&](const OpenLayer& layer, const std::string& name) {
    if (!layer.is_mount) return link(layer.fd, name);
    check_quietly(mkdirat(scratch.get(), name.c_str(), 0700), "mkdir({})", name);
    attach_at(layer.fd, name);
  };
  for (std::size_t i = 0; i < layers.folders.size(); ++i) {
    place(layers.folders[i], std::to_string(i));
    names = std::to_string(i) + (names.empty() ? "" : ":" + names);
  }
  // The merged root has the mode and owner of the upper directory, whatever those of the layers
  // are.
  struct stat st = {};
  check_quietly(fstat(layers.folders.back().fd.get(), &st), "fstat({})", layers.paths.back());
  if (layers.upper.is_mount) place(layers.upper, "kept");
  const UniqueFd& above = layers.upper.fd.get() == -1 ? scratch : layers.upper.fd;
  const UniqueFd upper = make_folder(above, "upper", st.st_mode & 07777);
  const UniqueFd work = make_folder(above, "work", 0700);
  link(upper, "upperdir");
  link(work, "workdir");

  // userxattr: in a user namespace, overlayfs stores its marks (for instance that a directory hides
  // those below it) in user.overlay.* instead of trusted.overlay.*, which only the host's root may
  // use.
  std::vector<std::pair<std::string, std::string>> options = {{"userxattr", ""}};
  if (names.size() <= kLongestValue) {
    options.emplace_back("lowerdir", names);
  } else {  // one by one, since Linux 6.7
    for (std::size_t i = layers.folders.size(); i-- > 0;) {
      options.emplace_back("lowerdir+", std::to_string(i));
    }
  }
  options.emplace_back("upperdir", "upperdir");
  options.emplace_back("workdir", "workdir");
  try {
    UniqueFd overlay = new_mount("overlay", MOUNT_ATTR_NODEV, options);
    check(umount2(".", MNT_DETACH), "umount2(the tmpfs, MNT_DETACH)");
    for (const auto& path : layers.volumes) (void)make_directories_in_root(overlay.get(), path);
    layers = OpenLayers();
    return overlay;
  } catch (const Failure& failure) {
    throw Failure::reported(failure.error(), failure.what(), failure.exit_status(),
                            hint_for(failure, layers, names));
  }
}

}  // namespace box
