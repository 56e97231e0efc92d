// Stage 08a: layers that cannot be written, and above them one that can.
#pragma once

#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "stages/05_userns/handshake.h"
#include "stages/08a_overlayfs/layer_stack.h"

namespace box {

// A folder, opened; or a mount of it that the parent has made, which is attached nowhere yet.
struct OpenLayer {
  UniqueFd fd;
  bool is_mount = false;
};

// The layers' folders.
struct OpenLayers {
  std::vector<OpenLayer> folders;    // lowest first
  OpenLayer upper;                   // holds "upper" and "work"; -1 without an upper folder on disk
  std::vector<std::string> paths;    // of the folders, for messages
  std::vector<std::string> volumes;  // folders of the container, made unless they are there
};

// In the child, while it has its caller's ids: opens the folders, to which root of its user
// namespace may find no way.
[[nodiscard]] OpenLayers take_layers(Layers& layers, MountsByPath& shown);

// In the child, as root of its user namespace: the layers as one file system, attached nowhere.
// What is written goes to the upper folder, or to a tmpfs that ends with the container. Closes the
// folders: they are the host's, and no path of the container may lead there.
[[nodiscard]] UniqueFd mount_overlay(OpenLayers& layers);

}  // namespace box
