#include "stages/08a_overlayfs/layer_stack.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <utility>

#include "common/build_once.h"
#include "common/check.h"
#include "common/extended_attributes.h"
#include "common/remove_tree.h"
#include "stages/07_cgroups/limits.h"
#include "stages/08a_overlayfs/image_files.h"
#include "stages/08a_overlayfs/unpack.h"

namespace box {
namespace {

namespace fs = std::filesystem;

// Closed to other users, because an image may contain set-user-ID programs that belong to root.
std::string make_private_folder(const std::string& name) {
  std::string path = cache_directory() + "/" + name;
  if (mkdir(path.c_str(), 0700) == -1 && errno != EEXIST) check_quietly(-1, "mkdir({})", path);
  return path;
}

std::string layer_cache() { return make_private_folder("layers"); }

// The name of an unpacked layer in the cache: its digest, or for a tar file without a known digest,
// attributes that change with the file. A digest would have to read the whole file at each start.
std::string tar_id(const struct stat& st) {
  return fmt::format("tar-{:x}-{}-{}-{}.{:09}-{}.{:09}", st.st_dev, st.st_ino, st.st_size,
                     st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
}

UniqueFd open_file(const std::string& path, struct stat& st) {
  UniqueFd file(open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (file.get() == -1 || fstat(file.get(), &st) == -1) throw Failure(errno, path);
  if (!S_ISREG(st.st_mode)) throw Failure(path + ": is neither a directory nor a file");
  return file;
}

void tell_of_full_disk(const Failure& failure, const std::string& folder) {
  if (failure.error() != ENOSPC && failure.error() != EDQUOT) throw;
  throw Failure::reported(failure.error(), failure.what(), failure.exit_status(),
                          "layers are unpacked in " + folder +
                              "; choose another place with"
                              " XDG_CACHE_HOME");
}

// --layer TAR
std::string unpack_tar(const std::string& tar, UnpackLimits& left) {
  struct stat st = {};
  const UniqueFd file = open_file(tar, st);
  std::string folder = layer_cache() + "/" + tar_id(st);
  try {
    build_once(folder, [&](const std::string& partial) { unpack_layer(file, tar, partial, left); });
  } catch (const Failure& failure) {
    tell_of_full_disk(failure, layer_cache());
  }
  return folder;
}

// A layer of an image: it gets its name only after all of it has been read and its digest is right.
std::string unpack_blob(const Blob& blob, UnpackLimits& left) {
  std::string folder = layer_cache() + "/sha256-" + blob.sha256;
  try {
    build_once(folder, [&](const std::string& partial) {
      const UniqueFd file = open_image_file(blob.path);
      struct stat st = {};
      check_quietly(fstat(file.get(), &st), "fstat({})", blob.path);
      if (static_cast<std::uint64_t>(st.st_size) != blob.bytes) {
        throw Failure(fmt::format("{}: has {} bytes, not {}", blob.path, st.st_size, blob.bytes),
                      "copy the image again");
      }
      if (unpack_layer(file, blob.path, partial, left).sha256 != blob.sha256) {
        throw Failure(blob.path + ": its content has another digest", "copy the image again");
      }
    });
  } catch (const Failure& failure) {
    tell_of_full_disk(failure, layer_cache());
  }
  return folder;
}

// Locks a directory of the cache. Others have it to themselves only for a moment, after they have
// built it or while they remove it.
UniqueFd hold(const std::string& path) {
  UniqueFd folder(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (folder.get() != -1 && TEMP_FAILURE_RETRY(flock(folder.get(), LOCK_SH)) == 0 &&
      access(path.c_str(), F_OK) == 0) {
    return folder;
  }
  if (errno == ENOENT) {  // another process prunes the cache
    throw Failure(path + ": has just been removed", "start the container again");
  }
  throw Failure(errno, path);
}

// If a layer is named twice, only its uppermost place matters, because that hides the lower one
// completely. overlayfs refuses it, and directories that are inside each other, with ELOOP.
std::vector<std::string> without_repetitions(const std::vector<std::string>& folders) {
  std::vector<std::string> kept;
  for (auto it = folders.rbegin(); it != folders.rend(); ++it) {
    if (std::find(kept.begin(), kept.end(), *it) == kept.end()) kept.insert(kept.begin(), *it);
  }
  return kept;
}

// In either order, because writing to an upper directory would change a layer below it.
void refuse_nested(const std::vector<std::string>& folders) {
  const auto holds = [](const std::string& outer, const std::string& inner) {
    return (inner + "/").starts_with(outer == "/" ? outer : outer + "/");
  };
  for (std::size_t i = 0; i < folders.size(); ++i) {
    for (std::size_t j = 0; j < folders.size(); ++j) {
      if (i == j || !holds(folders[i], folders[j])) continue;
      throw Failure("the layer " + folders[j] + " is inside another one, " + folders[i],
                    "choose directories that are not inside each other");
    }
  }
}

// In a user namespace, overlayfs stores its own marks in these attributes. Without them it cannot
// even remove a directory of a layer below (EIO).
void need_attributes(const UniqueFd& folder, const std::string& path, const std::string& hint) {
  if (keeps_user_attributes(folder)) return;
  throw Failure(
      errno, path + ": extended attributes", kExitSetupFailed,
      errno == EOPNOTSUPP ? "this file system does not support them: choose another, " + hint : "");
}

UniqueFd open_folder(const std::string& path) {
  return UniqueFd(check_quietly(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC),
                                "open({})", path));
}

// Takes the lock of the container that uses the directory; returns false if another container has
// it. The kernel releases it when its process ends, see flock(2).
bool is_locked_by_us(const UniqueFd& folder, const std::string& path) {
  if (flock(folder.get(), LOCK_EX | LOCK_NB) == 0) return true;
  if (errno != EWOULDBLOCK) check_quietly(-1, "flock({})", path);
  return false;
}

// Returns -1 if another container has the lock.
UniqueFd lock(const std::string& path) {
  UniqueFd folder = open_folder(path);
  return is_locked_by_us(folder, path) ? std::move(folder) : UniqueFd();
}

// The user of the host that is root inside; our own user, if no user is.
uid_t outside_of_root(const IdOptions& ids) {
  for (const IdRange& range : ids.uid_map) {
    if (range.inside == 0) return range.outside;
  }
  return geteuid();
}

bool has_only_what_is_ours(const std::string& path) {
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().filename() != "upper" && entry.path().filename() != "work") return false;
  }
  return true;
}

// In a directory that other users can reach, they could run set-user-ID programs of ours that the
// container makes there; and where they can write, they may have replaced our directories by links.
void check_that_kept_is_private(const UniqueFd& folder, const std::string& name,
                                uid_t root_inside) {
  struct stat st = {};
  check_quietly(fstat(folder.get(), &st), "fstat({})", name);
  if (st.st_uid != geteuid() && st.st_uid != root_inside) {
    throw Failure(fmt::format("{}: belongs to another user, {}", name, st.st_uid),
                  "choose a directory of your own, or one that does not exist yet");
  }
  if ((st.st_mode & (S_IRWXG | S_IRWXO)) == 0) return;
  if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 ||
      !has_only_what_is_ours(fmt::format("/proc/self/fd/{}", folder.get()))) {
    throw Failure(
        fmt::format("{}: is accessible to other users, its mode is {:04o}", name,
                    st.st_mode & 07777),
        "choose a directory that does not exist yet, or make this one private: chmod 700");
  }
  check_quietly(fchmod(folder.get(), S_IRWXU), "chmod({}, 0700)", name);
}

// The directories that a killed parent left are those without a lock.
void remove_left(const std::string& uppers) {
  for (const auto& entry : fs::directory_iterator(uppers)) {
    try {
      const UniqueFd ours = lock(entry.path());
      if (ours.get() != -1) remove_tree(entry.path());
    } catch (const Failure& failure) {  // another start has just removed it, or we may not
      trace(failure.what());
    }
  }
}

}  // namespace

LayerOptions::LayerOptions(CommandLine& line, ProcessOptions& process) {
  line.add_option("--layer", "DIR|TAR",
                  "add a layer (a directory or a tar file) on top of the root (repeatable, lowest"
                  " first)",
                  [this](const std::string& word) {
                    std::error_code error;
                    layers.push_back(fs::canonical(word, error));
                    if (error) throw Failure(error.message());
                  });
  auto reference = std::make_shared<std::string>();
  line.add_option("--image", "DIR[:TAG]",
                  "run an OCI image layout, or an archive of an image; COMMAND then replaces the "
                  "image's, and may be left out",
                  *reference);
  line.add_option("--entrypoint", "PROGRAM",
                  "run PROGRAM with COMMAND as its arguments; \"\" switches the image's entrypoint"
                  " off",
                  [this](const std::string& word) { entrypoint_ = word; });
  line.add_option("--keep", "DIR", "store the container's changes in DIR and reuse them next time",
                  keep);
  line.add_option("--unpack-limit", "SIZE", "unpack at most SIZE of tar files (default: 4g)",
                  [this](const std::string& text) {
                    limits.bytes = parse_size(text);
                    if (limits.bytes == 0)
                      throw Failure(
                          "must be more than 0, or no layer could"
                          " be unpacked");
                  });
  line.add_check([this, reference, &process] {
    if (!reference->empty()) read_image_called(*reference);
    complete(process);
  });
}

void LayerOptions::read_image_called(const std::string& reference) {
  try {
    const ImageReference found = find_image(reference);
    const bool is_archive = fs::is_regular_file(found.path);
    image = read_image(is_archive ? unpack_tar(found.path, limits) : found.path, found.tag);
  } catch (const Failure& failure) {
    throw Failure::reported(failure.error(), "--image " + reference + ": " + failure.what(),
                            failure.exit_status(), failure.hint());
  }
}

// As with docker run, an entrypoint other than the image's does not get the image's arguments.
void LayerOptions::complete(ProcessOptions& process) const {
  auto& words = process.command;
  if (entrypoint_) {
    if (!entrypoint_->empty()) words.insert(words.begin(), *entrypoint_);
  } else if (image) {
    if (words.empty()) words = image->command;
    words.insert(words.begin(), image->entrypoint.begin(), image->entrypoint.end());
  }
  if (!image) return;
  process.environment.insert(image->environment.begin(), image->environment.end());
  if (process.workdir.empty()) process.workdir = image->workdir;
  if (!image->stop_signal.empty() && image->stop_signal != "SIGTERM") {
    warn("the image asks to be stopped with " + image->stop_signal + "; send that signal yourself",
         "");
  }
}

UpperFolder::UpperFolder(std::string path, UniqueFd lock, bool temporary)
    : path_(std::move(path)), lock_(std::move(lock)), temporary_(temporary) {}

UpperFolder::~UpperFolder() {
  if (!temporary_ || lock_.get() == -1) return;  // moved from
  try {
    remove_tree(path_);
  } catch (const Failure& failure) {
    warn(failure.what(), "");
  }
}

UniqueFd UpperFolder::open_in_child(UniqueFd mount) {
  UniqueFd folder = mount.get() != -1 ? std::move(mount) : open_folder(path_);
  struct stat ours = {};
  struct stat there = {};
  check_quietly(fstat(lock_.get(), &ours), "fstat({})", path_);
  check_quietly(fstat(folder.get(), &there), "fstat({})", path_);
  if (ours.st_dev != there.st_dev || ours.st_ino != there.st_ino) {
    throw Failure(path_ + ": another process has put a different directory there");
  }
  lock_.close();
  return folder;
}

UpperFolder UpperFolder::kept(const std::string& directory, uid_t root_inside) {
  const std::string name = "--keep " + directory;
  const bool made = mkdir(directory.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) throw Failure(errno, name);
  std::error_code error;
  const std::string path = fs::canonical(directory, error);
  if (!error && !fs::is_directory(path)) error = std::make_error_code(std::errc::not_a_directory);
  if (error) throw Failure(error.value(), name);
  try {
    // Opened once: the owner of a directory above it could put another one there between two steps.
    UniqueFd ours = open_folder(path);
    check_that_kept_is_private(ours, name, root_inside);
    if (!is_locked_by_us(ours, path)) throw Failure(name + ": another container is using it");
    need_attributes(ours, name, "on a disk");
    return {path, std::move(ours), false};
  } catch (const Failure&) {
    if (made) (void)rmdir(path.c_str());  // the failure is the error to report
    throw;
  }
}

UpperFolder UpperFolder::temporary() {
  const std::string uppers = make_private_folder("uppers");
  const UniqueFd one_at_a_time =
      open_folder(uppers);  // otherwise another start could mistake a new one for a leftover
  check_quietly(TEMP_FAILURE_RETRY(flock(one_at_a_time.get(), LOCK_EX)), "flock({})", uppers);
  remove_left(uppers);
  std::string path = uppers + "/XXXXXX";
  check_quietly(mkdtemp(path.data()) == nullptr ? -1 : 0, "mkdtemp({})", path);
  UpperFolder folder(path, lock(path), true);
  need_attributes(folder.lock_, path, "with XDG_CACHE_HOME, or Linux 6.6");
  // Root of the container may be another user. Users outside cannot reach it, because `uppers` is
  // closed to them.
  check_quietly(fchmod(folder.lock_.get(), 0777), "chmod({})", folder.path_);
  return folder;
}

std::vector<std::string> Layers::paths() const {
  std::vector<std::string> paths = folders;
  if (upper) paths.push_back(upper->path());
  return paths;
}

Layers stack_layers(const LayerOptions& options, const UserspaceOptions& userspace,
                    const RootOptions& rootfs, const IdOptions& ids) {
  const bool root_given =
      !rootfs.directory.empty() || userspace.kind != "none" || !userspace.with.empty();
  if (options.image && root_given) {
    throw Failure("--image provides the root itself",
                  "leave out either --image or --rootfs, --userspace and --with");
  }
  Layers layers;
  UnpackLimits left = options.limits;
  const auto add_cached = [&](const std::string& path) {
    layers.in_use.push_back(hold(path));
    layers.folders.push_back(path);
  };
  if (options.image) {
    for (const Blob& blob : options.image->layers) add_cached(unpack_blob(blob, left));
    layers.volumes = options.image->volumes;
  } else if (rootfs.directory.empty()) {
    // Not in the directory that earlier stages use, because their containers write to it.
    add_cached(build_userspace(userspace, rootfs, layer_cache()));
  } else {
    layers.folders.push_back(build_userspace(userspace, rootfs));
  }
  for (const auto& path : options.layers) {
    fs::is_directory(path) ? layers.folders.push_back(path) : add_cached(unpack_tar(path, left));
  }
  for (auto& path : layers.folders) path = fs::canonical(path);  // $HOME may be a link
  layers.folders = without_repetitions(layers.folders);
  std::vector<std::string> all = layers.folders;
  if (!options.keep.empty()) all.push_back(fs::weakly_canonical(fs::absolute(options.keep)));
  refuse_nested(all);
  if (!options.keep.empty()) {
    layers.upper.emplace(UpperFolder::kept(options.keep, outside_of_root(ids)));
  } else if (!tmpfs_keeps_user_attributes()) {
    layers.upper.emplace(UpperFolder::temporary());
  }
  return layers;
}

}  // namespace box
