// main() of every stage: from the command line to the exit status.
#pragma once

#include <functional>

#include "common/command_line.h"

namespace box {

// Calls `run` and returns its exit status. A Failure becomes one line on stderr, perhaps a second
// one with a hint, and the Failure's exit status (125 by default).
int run_main(int argc, char** argv, const std::function<int(CommandLine&)>& run);

// In the child, before the exec: restores what our caller chose for the signals that run_main()
// ignores.
void restore_signals();

}  // namespace box
