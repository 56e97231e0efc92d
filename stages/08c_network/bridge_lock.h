// One process at a time changes the bridge, its rules and its hosts file.
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace box {

// A lock on a file that only root can open, so that no other user can hold it. Each network
// namespace has a bridge of its own, and therefore a file of its own.
class BridgeLock {
 public:
  // Waits until the lock is free, and throws Failure after a time limit. A start also gives up at
  // SIGINT, SIGTERM or SIGHUP, which have been blocked since the child was started; a clean-up does
  // not.
  enum class For { kStart, kCleanUp };
  explicit BridgeLock(For purpose);

  // To be called with the lock: removes the files of network namespaces that are gone, whose last
  // container was killed together with its janitor.
  void remove_files_of_the_gone() const;

  // To be called with the lock, when nothing is left of the bridge: removes the file.
  void remove_file();

 private:
  std::string path_;
  UniqueFd file_;
};

// The directory of the files that the containers at the bridge share; made if it is missing. Only
// root can write to it, every user can read it.
[[nodiscard]] UniqueFd open_shared_folder();
inline constexpr const char* kSharedFolder = "/run/containers-under-the-hood";

// The number of our network namespace, which is part of the file names in that directory.
[[nodiscard]] std::string network_namespace_number();

}  // namespace box
