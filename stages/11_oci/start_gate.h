// Stage 11: the pause between `create` and `start`.
#pragma once

#include <vector>

#include "common/error_pipe.h"
#include "common/unique_fd.h"
#include "stages/11_oci/state.h"

namespace box {

inline constexpr const char* kStartSocket = "start";

// runc and crun have a FIFO for it. With a socket, `start` also learns whether the command could be
// executed: the connection is the error pipe from then on. If the process that starts is killed
// after it has connected, the container ends, too: it is never built twice, nor started halfway.
class StartGate {
 public:
  // In the parent, before the child starts: makes the socket in the container's folder.
  explicit StartGate(const StateFolder& folder);

  // In the child, when only the command is left: tells the parent that the container has been
  // created, and waits for open_gate(). All descriptors but `needed` and 0, 1, 2 are closed then:
  // the engine's must not stay open for as long as the container waits. No Failure of the parent's
  // ends the child any more.
  void wait(std::vector<int> needed);
  // In the child: `needed`, and what the gate itself needs.
  [[nodiscard]] std::vector<int> and_for(std::vector<int> needed) const;

  [[nodiscard]] int get() const { return listener_.get(); }
  // In the parent, once the child has it.
  void close() { listener_.close(); }

 private:
  UniqueFd listener_;
};

// In `start`: lets the child go on, and returns what tells how that went. Throws Failure if the
// container does not wait.
[[nodiscard]] ErrorPipe open_gate(const StateFolder& folder);

}  // namespace box
