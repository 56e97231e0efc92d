// Stage 08a, on the host: which directories are stacked in the container's root.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "common/unique_fd.h"
#include "stages/01_exec/process.h"
#include "stages/02_chroot/chroot.h"
#include "stages/03_userspace/userspace.h"
#include "stages/05_userns/id_map.h"
#include "stages/08a_overlayfs/layer_source.h"
#include "stages/08a_overlayfs/oci_image.h"

namespace box {

// --layer, --image, --entrypoint, --keep and --unpack-limit
struct LayerOptions {
  // An image sets the members of `process` that the command line does not set.
  LayerOptions(CommandLine& line, ProcessOptions& process);

  std::vector<std::string> layers;  // absolute paths of directories and tar files, lowest first
  std::optional<OciImage> image;
  std::string keep;  // as given
  UnpackLimits limits;

 private:
  void read_image_called(const std::string& reference);
  void complete(ProcessOptions& process) const;

  std::optional<std::string> entrypoint_;
};

// A directory, on a disk, for what the container writes. It is locked, so that no other container
// can use it as long as this object exists.
class UpperFolder {
 public:
  // --keep: uses, or makes, the directory `directory` with mode 0700, which must belong to us or to
  // the host's user `root_inside`. Throws Failure if it does not, or if another container uses it.
  static UpperFolder kept(const std::string& directory, uid_t root_inside);
  // Makes one that the destructor removes, and removes those of containers that were killed.
  static UpperFolder temporary();

  UpperFolder(UpperFolder&&) = default;
  UpperFolder& operator=(UpperFolder&&) = delete;
  ~UpperFolder();

  // In the child: opens it in the child's mount namespace, unless the parent has made a mount of
  // it, and closes the child's copy of the lock; the parent keeps the lock.
  [[nodiscard]] UniqueFd open_in_child(UniqueFd mount);

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  UpperFolder(std::string path, UniqueFd lock, bool temporary);

  std::string path_;
  UniqueFd lock_;
  bool temporary_;
};

struct Layers {
  std::vector<std::string> folders;  // lowest first, by paths without links
  std::optional<UpperFolder> upper;  // without one, the container's changes stay in memory
  std::vector<std::string> volumes;  // directories that the image expects in the container
  std::vector<UniqueFd> in_use;  // locks, so that //rootfs:cache does not remove the directories

  [[nodiscard]] std::vector<std::string> paths() const;  // of all layers
};

// In the parent, before the child starts: returns the layers, all as directories. The lowest is the
// root that stage 03 builds, or the lower ones are the image's; those of --layer are on top. Each
// tar file is unpacked into the cache once. There an image's layers are named by their digests, so
// that images share them; the digests are checked when the layers are unpacked.
[[nodiscard]] Layers stack_layers(const LayerOptions& options, const UserspaceOptions& userspace,
                                  const RootOptions& rootfs, const IdOptions& ids);

}  // namespace box
