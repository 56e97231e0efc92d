// What the parent does while the command runs.
#pragma once

#include <functional>

#include "stages/01_exec/companion.h"

namespace box {

class Child;

// In the parent: forwards signals until the child has ended, and returns what a shell would: the
// child's exit status, or 128 + the signal that ended it. Throws what the child threw on its way to
// exec. `after_signal` is called with each signal that the child should have by now.
[[nodiscard]] int wait_for(Child& child, const std::function<void(int)>& after_signal = {},
                           Companion* companion = nullptr);

}  // namespace box
