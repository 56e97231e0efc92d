// Stage 08a: read-only layers, and a writable one on top of them.
#pragma once

#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "stages/05_userns/handshake.h"
#include "stages/08a_overlayfs/layer_stack.h"

namespace box {

// A directory, opened; or a mount of it that the parent has made and that is not attached yet.
struct OpenLayer {
  UniqueFd fd;
  bool is_mount = false;
};

// The layers' directories.
struct OpenLayers {
  std::vector<OpenLayer> folders;  // lowest first
  OpenLayer upper;  // contains "upper" and "work"; -1 without an upper directory on disk
  std::vector<std::string> paths;    // of the directories, for messages
  std::vector<std::string> volumes;  // directories of the container, made if they are missing
};

// In the child, while it has its caller's ids: opens the directories, which root of its user
// namespace may not be able to reach.
[[nodiscard]] OpenLayers take_layers(Layers& layers, MountsByPath& shown);

// In the child, as root of its user namespace: returns the layers as one file system, detached.
// Changes go to the upper directory, or to a tmpfs that ends with the container. Closes the
// directories, because they belong to the host, and no path of the container may lead there.
[[nodiscard]] UniqueFd mount_overlay(OpenLayers& layers);

}  // namespace box
