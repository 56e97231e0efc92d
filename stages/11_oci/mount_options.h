// Stage 11: the options of a mount, see "mounts" in the runtime specification and mount(8).
#pragma once

#include <sys/mount.h>

#include <string>
#include <utility>
#include <vector>

#include "stages/05_userns/id_range.h"

namespace box {

// Attributes of mount_setattr(2).
struct MountAttributes {
  unsigned set = 0;
  unsigned clear = 0;
};

struct ConfigMount {
  std::string destination;  // in the container, absolute
  std::string type;         // "bind" for a bind mount
  std::string source;       // absolute for a bind mount
  bool recursive = false;   // rbind
  MountAttributes attributes;
  MountAttributes below;          // also of the mounts below it: "rro"
  unsigned long propagation = 0;  // MS_*, 0: not given
  bool maps_ids = false;          // idmap
  bool maps_ids_below = false;    // ridmap
  IdMap uid_map;                  // from the disk's ids to the host's
  IdMap gid_map;
  bool copy_up = false;                                   // tmpcopyup
  std::vector<std::pair<std::string, std::string>> data;  // of the file system: "size", "64m"

  [[nodiscard]] bool is_bind() const { return type == "bind"; }
};

// Adds one word of the options. Throws Failure for those that cannot be done.
void add_mount_option(ConfigMount& mount, const std::string& word);

// All that add_mount_option() knows, for `features`.
[[nodiscard]] std::vector<std::string> known_mount_options();

// "rslave" -> MS_SLAVE|MS_REC; 0 if it is no propagation.
[[nodiscard]] unsigned long propagation_called(const std::string& word);

}  // namespace box
