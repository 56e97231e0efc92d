#include "stages/05_userns/idmapped_mounts.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <exception>

#include "common/check.h"
#include "common/open_in_root.h"

namespace box {
namespace {

UniqueFd open_namespace(const std::string& file) {
  return UniqueFd(check_quietly(open(file.c_str(), O_RDONLY | O_CLOEXEC), "open({})", file));
}

UniqueFd idmapped_copy(const std::string& path, const UniqueFd& user_namespace) {
  UniqueFd mount = private_copy(path, AT_RECURSIVE);
  mount_attr attr = {};
  attr.attr_set = MOUNT_ATTR_IDMAP;
  attr.userns_fd = static_cast<std::uint64_t>(user_namespace.get());
  // This includes the mounts below, if each of these file systems supports it; otherwise (EINVAL)
  // those keep their owners, as volumes do: with --rootfs / there are /proc and /sys.
  if (mount_setattr(mount.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr) == 0) {
    trace("mount_setattr(" + path + ", IDMAP) = 0");
    return mount;
  }
  if (mount_setattr(mount.get(), "", AT_EMPTY_PATH, &attr, sizeof attr) == 0) {
    trace("mount_setattr(" + path + ", IDMAP, not what is mounted below) = 0");
    return mount;
  }
  throw Failure(
      errno, "mount_setattr(" + path + ", IDMAP)", kExitSetupFailed,
      "the file system there cannot show its files with other owners: --uid-map 0:0:65536 "
      "shows them with their own, but then root inside has the rights of the host's root over "
      "files");
}

}  // namespace

UniqueFd private_copy(const std::string& path, unsigned flags) {
  const UniqueFd place = open_resolved(path, O_PATH);
  UniqueFd mount(
      check(open_tree(place.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | flags),
            "open_tree({}, CLONE{})", path, (flags & AT_RECURSIVE) != 0 ? "|RECURSIVE" : ""));
  mount_attr attr = {};
  attr.propagation = MS_PRIVATE;
  check_quietly(mount_setattr(mount.get(), "", AT_EMPTY_PATH | flags, &attr, sizeof attr),
                "mount_setattr({}, PRIVATE)", path);
  return mount;
}

void in_mounts_of(pid_t child, const std::function<void()>& body) {
  const UniqueFd childs = open_namespace(fmt::format("/proc/{}/ns/mnt", child));
  const UniqueFd ours = open_namespace("/proc/self/ns/mnt");
  const UniqueFd here(check_quietly(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), "open(.)"));
  check_quietly(setns(childs.get(), CLONE_NEWNS), "setns(the child's mounts)");
  std::exception_ptr failure;
  try {
    body();
  } catch (const Failure&) {
    failure = std::current_exception();
  }
  // setns(2) has changed our working directory, too.
  check_quietly(setns(ours.get(), CLONE_NEWNS), "setns(our own mounts)");
  check_quietly(fchdir(here.get()), "fchdir(our working directory)");
  if (failure) std::rethrow_exception(failure);
}

MountsByPath show_with_ids_inside(const std::vector<std::string>& paths, pid_t child,
                                  const IdOptions& ids) {
  MountsByPath mounts;
  if (!is_root_of_the_host()) return mounts;
  in_mounts_of(child, [&] {
    UniqueFd user_namespace;
    for (const auto& path : paths) {
      struct stat st = {};
      check_quietly(stat(path.c_str(), &st), "stat({})", path);
      if (has_outside(ids.uid_map, st.st_uid)) continue;
      if (user_namespace.get() == -1) {
        user_namespace = open_namespace(fmt::format("/proc/{}/ns/user", child));
      }
      mounts.emplace(path, idmapped_copy(path, user_namespace));
    }
  });
  return mounts;
}

std::string attach_in_place(MountsByPath& mounts, const std::string& path) {
  const UniqueFd mount = take(mounts, path);
  if (mount.get() == -1) return path;
  check(move_mount(mount.get(), "", AT_FDCWD, path.c_str(), MOVE_MOUNT_F_EMPTY_PATH),
        "move_mount({})", path);
  // By its descriptor, because a lookup of "/" does not reach a mount on top of it.
  check(fchdir(mount.get()), "fchdir({})", path);
  return ".";
}

}  // namespace box
