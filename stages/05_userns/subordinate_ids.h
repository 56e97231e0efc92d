// Stage 05: which ids of the host a container of root has.
#pragma once

#include <string>

#include "stages/05_userns/id_range.h"

namespace box {

// Reads the text of /etc/subuid or /etc/subgid, see subuid(5): root's ranges, one after the other
// from id 0 inside. Empty if root has none.
[[nodiscard]] IdMap roots_subordinate_ids(const std::string& text);

// 65536 of the ids that systemd reserves for containers (524288 to 1879048191, see
// https://systemd.io/UIDS-GIDS): the first ones of which `text`, a subuid(5) and a subgid(5) file,
// gives none to a user.
[[nodiscard]] IdMap ids_of_nobody_else(const std::string& text);

// What root maps if the command line has no map.
struct DefaultMaps {
  IdMap uid_map;
  IdMap gid_map;
};
[[nodiscard]] DefaultMaps maps_for_root();

}  // namespace box
