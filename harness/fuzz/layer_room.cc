#include "harness/fuzz/layer_room.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "common/check.h"
#include "common/remove_tree.h"
#include "common/write_file.h"
#include "stages/06_pivot_root/mounts.h"
#include "stages/08a_overlayfs/unpack.h"

namespace box::fuzz {
namespace {

namespace fs = std::filesystem;

constexpr uid_t kNobody = 65534;

// As small as its room.
constexpr UnpackLimits kLimits = {.bytes = 1 << 20, .entries = 200, .attribute_bytes = 1 << 16};

struct stat status_of(const fs::path& path) {
  struct stat st = {};
  check_quietly(lstat(path.c_str(), &st), "lstat({})", path.string());
  return st;
}

// Everything about the files in `folder` that a layer could change, except what is in `except`.
std::string list_tree(const fs::path& folder, const std::string& except) {
  std::vector<std::string> lines;
  for (auto it = fs::recursive_directory_iterator(folder); it != fs::end(it); ++it) {
    if (it->path().filename() == except && it.depth() == 0) {
      it.disable_recursion_pending();
      continue;
    }
    const struct stat st = status_of(it->path());
    std::ifstream file(it->path(), std::ios::binary);
    const std::string content =
        S_ISREG(st.st_mode) ? std::string(std::istreambuf_iterator<char>(file), {}) : "";
    const auto attributes = llistxattr(it->path().c_str(), nullptr, 0);
    lines.push_back(fmt::format("{} {:o} {} {}:{} {}.{:09} {} {}", it->path().string(), st.st_mode,
                                S_ISDIR(st.st_mode) ? 0 : st.st_nlink, st.st_uid, st.st_gid,
                                st.st_mtim.tv_sec, st.st_mtim.tv_nsec, attributes, content));
  }
  std::sort(lines.begin(), lines.end());
  const struct stat root = status_of(folder);
  return fmt::format("{:o} {}:{}\n{}", root.st_mode, root.st_uid, root.st_gid,
                     fmt::join(lines, "\n"));
}

UniqueFd make_tmpfs() {
  if (geteuid() != 0) {
    const uid_t user = getuid();
    const gid_t group = getgid();
    check_quietly(unshare(CLONE_NEWUSER | CLONE_NEWNS), "unshare(CLONE_NEWUSER|CLONE_NEWNS)");
    write_file("/proc/self/uid_map", fmt::format("{0} {0} 1", user));
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/gid_map", fmt::format("{0} {0} 1", group));
  }
  return new_mount("tmpfs", 0, {{"mode", "0755"}, {"size", "64m"}, {"nr_inodes", "4096"}});
}

}  // namespace

LayerRoom::LayerRoom()
    : tmpfs_(make_tmpfs()), path_(fmt::format("/proc/self/fd/{}", tmpfs_.get())) {
  for (const char* folder : {"/canary", "/canary/a", "/a"}) {
    fs::create_directory(path_ + folder);
  }
  for (const char* file : {"/canary/b", "/canary/a/a", "/b"}) {
    std::ofstream(path_ + file) << "as it was\n";
    fs::permissions(path_ + file, fs::perms::all);  // nobody is kept out by its mode
  }
  // In a user namespace of one id, as Bazel's sandbox has it, nobody has no id.
  may_be_nobody_ = geteuid() == 0 && lchown((path_ + "/a").c_str(), kNobody, kNobody) == 0 &&
                   lchown((path_ + "/a").c_str(), 0, 0) == 0;
  outside_ = list_tree(path_, "layer");
}

bool LayerRoom::unpack(std::string_view tar) {
  tar_.set(tar);
  const bool good = unpack_as(geteuid());
  if (may_be_nobody_) (void)unpack_as(kNobody);
  return good;
}

bool LayerRoom::unpack_as(uid_t user) {
  const std::string folder = path_ + "/layer";
  const uid_t before = geteuid();
  check_quietly(mkdir(folder.c_str(), 0700), "mkdir({})", folder);
  check_quietly(lchown(folder.c_str(), user, static_cast<gid_t>(-1)), "chown({})", folder);
  check_quietly(seteuid(user), "seteuid({})", user);  // all capabilities go with 0
  const bool good = accepted([&] {
                      const UniqueFd file(check_quietly(
                          open(tar_.path().c_str(), O_RDONLY | O_CLOEXEC), "open(tar)"));
                      UnpackLimits left = kLimits;
                      unpack_layer(file, "the layer", folder, left);
                      return true;
                    }).has_value();
  check_quietly(seteuid(before), "seteuid({})", before);
  require(list_tree(path_, "layer") == outside_, "nothing outside of its folder is changed");
  check_inside(folder, user);
  remove_tree(folder);
  require(access(folder.c_str(), F_OK) == -1, "the folder can be removed");
  return good;
}

void LayerRoom::check_inside(const std::string& folder, uid_t user) const {
  const dev_t device = status_of(folder).st_dev;
  std::map<ino_t, std::pair<nlink_t, nlink_t>> links;  // as many as found, and as many as there are
  for (auto it = fs::recursive_directory_iterator(folder); it != fs::end(it); ++it) {
    const struct stat st = status_of(it->path());
    require(st.st_dev == device, "all is on the file system of its folder");
    require(!S_ISBLK(st.st_mode), "no block device is made");
    require(!S_ISCHR(st.st_mode) || st.st_rdev == makedev(0, 0), "no device but whiteouts is made");
    if (user != 0) {
      require((st.st_mode & (S_ISUID | S_ISGID)) == 0 || S_ISLNK(st.st_mode),
              "an ordinary user's layers have no set-user-ID programs");
      require(st.st_uid == user, "an ordinary user's layers are that user's");
    }
    if (!S_ISDIR(st.st_mode)) {
      auto& [found, all] = links[st.st_ino];
      ++found;
      all = st.st_nlink;
    }
    for (const char* name : {"trusted.overlay.opaque", "user.overlay.redirect",
                             "user.overlay.metacopy", "trusted.overlay.redirect"}) {
      require(lgetxattr(it->path().c_str(), name, nullptr, 0) == -1,
              "no layer tells overlayfs where else to look");
    }
  }
  for (const auto& [inode, counts] : links) {
    require(counts.first == counts.second, "every name of a file is in the folder");
  }
}

}  // namespace box::fuzz
