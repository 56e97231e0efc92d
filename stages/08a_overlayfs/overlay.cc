#include "stages/08a_overlayfs/overlay.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <utility>

#include "common/check.h"
#include "stages/06_pivot_root/mounts.h"

namespace box {
namespace {

// fsconfig(2) takes values of up to 255 bytes.
constexpr std::size_t kLongestValue = 255;

// A folder of this name, unless it is there: with --keep it may be the second run.
void make_folder(const std::string& name, mode_t mode) {
  if (mkdir(name.c_str(), 0700) == 0) {
    check_quietly(chmod(name.c_str(), mode), "chmod({})", name);  // mkdir() obeys the umask
  } else if (errno != EEXIST) {
    const int error = errno;
    throw Failure(error, "mkdir(" + name + ")", kExitSetupFailed,
                  error != EACCES
                      ? ""
                      : "give the folder of --keep to whom --uid-map makes root inside: "
                        "sudo chown UID DIR");
  }
}

// Mount points below `folder`.
std::string mounted_below(const std::string& folder) {
  std::ifstream mounts("/proc/self/mountinfo");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string word;
    for (int i = 0; i < 5; ++i) words >> word;
    if (word != folder && word.starts_with(folder == "/" ? folder : folder + "/")) return word;
  }
  return "";
}

// The kernel says little more than EINVAL, and the rest in its log.
std::string hint_for(const Failure& failure, const OpenLayers& layers, const std::string& names) {
  std::ifstream file("/proc/filesystems");
  std::stringstream known;
  known << file.rdbuf();
  if (known.str().find("\toverlay\n") == std::string::npos) {
    return "this kernel has no overlayfs: sudo modprobe overlay";
  }
  if (failure.error() == EPERM) {
    return "this kernel keeps overlayfs from user namespaces, which Linux since 5.11 does not: "
           "fuse-overlayfs(1) lays the layers over each other without it; give the result to "
           "stage 06's --rootfs";
  }
  if (failure.error() == EINVAL && names.size() > kLongestValue) {
    return fmt::format("Linux 6.7 was the first to take as many layers as {}", layers.paths.size());
  }
  for (const auto& path : layers.paths) {
    if (const std::string point = mounted_below(path); !point.empty()) {
      return "something is mounted in the layer " + path + ", at " + point +
             ", and in a user namespace nothing may uncover what it hides";
    }
  }
  struct statfs fs = {};
  if (layers.upper.get() != -1 && fstatfs(layers.upper.get(), &fs) == 0 &&
      fs.f_type == OVERLAYFS_SUPER_MAGIC) {
    return "what is written cannot be kept in another overlayfs: choose a --keep DIR elsewhere";
  }
  return "";
}

}  // namespace

OpenLayers take_layers(const Layers& layers) {
  const auto open_folder = [](const std::string& path) {
    return UniqueFd(
        check_quietly(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC), "open({})", path));
  };
  OpenLayers open;
  for (const auto& path : layers.folders) open.folders.push_back(open_folder(path));
  if (layers.upper) open.upper = open_folder(layers.upper->path());
  open.paths = layers.folders;
  return open;
}

UniqueFd mount_overlay(const OpenLayers& layers) {
  // A place for names, and for what is written. It is attached over the old root: before Linux 6.15
  // overlayfs takes folders from mounts of our mount namespace only. The container does not see it.
  const UniqueFd scratch =
      new_mount("tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, {{"mode", "0700"}});
  attach_at(scratch, "/");
  check(fchdir(scratch.get()), "fchdir(the tmpfs)");

  // The lowest layer's name is the last. Short links in place of paths: see kLongestValue.
  std::string names;
  const auto link = [](const UniqueFd& folder, const std::string& name) {
    const std::string target = fmt::format("/proc/self/fd/{}", folder.get());
    check(symlink(target.c_str(), name.c_str()), "symlink({}, {})", target, name);
  };
  for (std::size_t i = 0; i < layers.folders.size(); ++i) {
    link(layers.folders[i], std::to_string(i));
    names = std::to_string(i) + (names.empty() ? "" : ":" + names);
  }
  // The merged root has the upper folder's mode and owner, whatever the layers' roots have.
  struct stat st = {};
  check_quietly(fstat(layers.folders.back().get(), &st), "fstat({})", layers.paths.back());
  const std::string above = layers.upper.get() == -1 ? "" : "kept/";
  if (!above.empty()) link(layers.upper, "kept");
  make_folder(above + "upper", st.st_mode & 07777);
  make_folder(above + "work", 0700);

  // userxattr: in a user namespace, what overlayfs has to remember of a file (that a folder hides
  // those below it) is in user.overlay.*, not in trusted.overlay.*, which is for the host's root.
  std::vector<std::pair<std::string, std::string>> options = {{"userxattr", ""}};
  if (names.size() <= kLongestValue) {
    options.emplace_back("lowerdir", names);
  } else {  // one by one, since Linux 6.7
    for (std::size_t i = layers.folders.size(); i-- > 0;) {
      options.emplace_back("lowerdir+", std::to_string(i));
    }
  }
  options.emplace_back("upperdir", above + "upper");
  options.emplace_back("workdir", above + "work");
  try {
    UniqueFd overlay = new_mount("overlay", MOUNT_ATTR_NODEV, options);
    // It has its own hold of them. Left here, the tmpfs would lie on top of the old root, and
    // pivot_into() let go of it in place of that.
    check(umount2(".", MNT_DETACH), "umount2(the tmpfs, MNT_DETACH)");
    return overlay;
  } catch (const Failure& failure) {
    throw Failure::reported(failure.error(), failure.what(), failure.exit_status(),
                            hint_for(failure, layers, names));
  }
}

}  // namespace box
