// One process at a time changes the bridge, its rules and its hosts file.
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace box {

// A lock on a file that only root can open: nobody else can hold it. Each network namespace has a
// bridge of its own, and so a file of its own.
class BridgeLock {
 public:
  // Waits until it is free, but not for ever: throws Failure then. A start is also given up if
  // SIGINT, SIGTERM or SIGHUP come, which are blocked since the child was started; a clean-up is
  // not.
  enum class For { kStart, kCleanUp };
  explicit BridgeLock(For purpose);

  // With the lock, when nothing is left of the bridge: removes the file.
  void remove_file();

 private:
  std::string path_;
  UniqueFd file_;
};

// The folder of what the containers at the bridge share; made if it is missing. Only root can write
// to it, everyone can read in it.
[[nodiscard]] UniqueFd open_shared_folder();
inline constexpr const char* kSharedFolder = "/run/containers-under-the-hood";

// The number of our network namespace, which is part of the names in that folder.
[[nodiscard]] std::string network_namespace_number();

}  // namespace box
