// Removes directories that another program has filled, however deep they are.
#pragma once

#include <string>

namespace box {

// rm -rf: removes `path` and everything below it on this file system, without following links.
// Needs three descriptors, whatever the depth. It is not an error if `path` does not exist. Throws
// Failure.
void remove_tree(const std::string& path);

// The same for `name` in the open directory `folder`.
void remove_tree_at(int folder, const std::string& name);

// The same for directories alone: for a cgroup, whose files disappear with its directory.
void remove_directories(const std::string& path);
void remove_directories_at(int folder, const std::string& name);

}  // namespace box
