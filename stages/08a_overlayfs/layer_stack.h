// Stage 08a, on the host: which folders lie upon each other in the container's root.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "common/command_line.h"
#include "common/unique_fd.h"
#include "stages/01_exec/process.h"
#include "stages/02_chroot/chroot.h"
#include "stages/03_userspace/userspace.h"
#include "stages/08a_overlayfs/oci_image.h"

namespace box {

// --layer, --image and --keep
struct LayerOptions {
  // An image says what `process` is, as far as the command line does not.
  LayerOptions(CommandLine& line, ProcessOptions& process);

  std::vector<std::string> layers;  // absolute paths of folders and tar files, lowest first
  std::optional<OciImage> image;
  std::string keep;  // as given
};

// A folder for what the container writes, on a disk. Nobody else has it as long as this lives.
class UpperFolder {
 public:
  // --keep: takes, or makes, the folder `directory`. Throws Failure if another container has it.
  static UpperFolder kept(const std::string& directory);
  // Makes one that is removed in the end, and removes those whose container was killed.
  static UpperFolder passing();

  UpperFolder(UpperFolder&&) = default;
  UpperFolder& operator=(UpperFolder&&) = delete;
  ~UpperFolder();

  [[nodiscard]] const std::string& path() const { return path_; }

 private:
  UpperFolder(std::string path, UniqueFd lock, bool passes);

  std::string path_;
  UniqueFd lock_;
  bool passes_;
};

struct Layers {
  std::vector<std::string> folders;  // lowest first
  std::optional<UpperFolder> upper;  // none: the memory
};

// In the parent, before the child starts: answers the layers, all as folders. The lowest is the
// root that stage 03 builds, or they are the image's; upon them come those of --layer. Tar files
// are unpacked in the cache, once; an image's layers are known there by their digests, which are
// checked at that time, and shared by all images that have them.
[[nodiscard]] Layers stack_layers(const LayerOptions& options, const UserspaceOptions& userspace,
                                  const RootOptions& rootfs);

}  // namespace box
