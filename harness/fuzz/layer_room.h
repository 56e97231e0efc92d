// Where a fuzz target may unpack a layer that wants out, and what is looked at afterwards.
#pragma once

#include <string>
#include <string_view>

#include "common/unique_fd.h"
#include "harness/fuzz/fuzz.h"

namespace box::fuzz {

// A small tmpfs that is mounted nowhere: no path of the host leads into it, and "..", which is all
// that a layer has to get out of its folder, ends at its root. Beside the folder lie canaries.
class LayerRoom {
 public:
  // Needs no privilege where user namespaces are allowed.
  LayerRoom();

  // Unpacks the layer once as the user that we are, and, if root may, once as nobody. Returns
  // whether it was a good one. Ends the program if anything is outside of its folder, or inside
  // what must not be, or if the folder cannot be removed.
  bool unpack(std::string_view tar);

 private:
  bool unpack_as(uid_t user);
  void check_inside(const std::string& folder, uid_t user) const;

  UniqueFd tmpfs_;
  std::string path_;
  bool may_be_nobody_ = false;
  std::string outside_;  // what list_outside() returned at the start
  MemoryFile tar_;
};

}  // namespace box::fuzz
