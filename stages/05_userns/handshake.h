// The child waits until the parent has done what only the parent can do for it.
#pragma once

#include "common/unique_fd.h"

namespace box {

// A pipe on which the parent says once: go on. Should the parent die or fail before, the child
// reads end-of-file instead, and gives up.
class Handshake {
 public:
  Handshake();

  void wait_for_parent();  // in the child
  void let_child_go_on();  // in the parent

 private:
  UniqueFd read_end_;
  UniqueFd write_end_;
};

}  // namespace box
