// What the parent does while the command runs.
#pragma once

#include <poll.h>

#include <functional>
#include <vector>

namespace box {

class Child;

// What a later layer does in the parent in the meantime: stage 06 copies between our terminal and
// the container's own, so ours is not lent.
class Companion {
 public:
  Companion() = default;
  virtual ~Companion() = default;
  Companion(const Companion&) = delete;
  Companion& operator=(const Companion&) = delete;

  // Called before each poll(2): appends the descriptors to wait for.
  virtual void add_to(std::vector<pollfd>& events) = 0;
  // Called after each poll(2), whatever made it return: does what can be done without waiting.
  virtual void serve() = 0;
  // Called for each signal that wait_for() watches, before it is forwarded: SIGTERM and the like,
  // SIGWINCH (our terminal has a new size), SIGTSTP (we stop when this returns) and SIGCONT.
  virtual void take_signal(int signal) = 0;
};

// In the parent: forwards signals until the child has ended, and returns what a shell would: the
// child's exit status, or 128 + the signal that ended it. Throws what the child threw on its way to
// exec. `after_signal` is called with each signal that the child should have by now.
[[nodiscard]] int wait_for(Child& child, const std::function<void(int)>& after_signal = {},
                           Companion* companion = nullptr);

}  // namespace box
