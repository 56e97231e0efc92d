// main() of every stage: from the command line to the exit status.
#pragma once

#include <functional>

#include "common/command_line.h"

namespace box {

// Calls `run` and answers its exit status. A Failure becomes one line on stderr, perhaps a second
// with a hint, and its exit status (125 unless it says otherwise).
int run_main(int argc, char** argv, const std::function<int(CommandLine&)>& run);

// In the child, before the exec: the signals that run_main() ignores do again what our caller
// chose.
void restore_signals();

}  // namespace box
