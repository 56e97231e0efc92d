// Stage 08a: layers that cannot be written, and above them one that can.
#pragma once

#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "stages/08a_overlayfs/layer_stack.h"

namespace box {

// The layers' folders, opened.
struct OpenLayers {
  std::vector<UniqueFd> folders;   // lowest first
  UniqueFd upper;                  // holds "upper" and "work"; -1: the memory
  std::vector<std::string> paths;  // of the folders, for messages
};

// In the child, as long as it is who started it: opens the folders, to which root of its user
// namespace may find no way.
[[nodiscard]] OpenLayers take_layers(const Layers& layers);

// In the child, as root of its user namespace: the layers as one file system, attached nowhere.
// What is written goes to the upper folder, or to a tmpfs that ends with the container.
[[nodiscard]] UniqueFd mount_overlay(const OpenLayers& layers);

}  // namespace box
