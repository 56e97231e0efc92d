// Removing folders that somebody else has filled, however deep they are.
#pragma once

#include <string>

namespace box {

// rm -rf: removes `path` and what is below it, on this file system, without following links. Needs
// three descriptors, whatever the depth. That nothing is there is no error. Throws Failure.
void remove_tree(const std::string& path);

// The same for `name` in the open folder `folder`.
void remove_tree_at(int folder, const std::string& name);

// The same for the folders alone: for a cgroup, whose files go with its directory.
void remove_directories(const std::string& path);
void remove_directories_at(int folder, const std::string& name);

}  // namespace box
