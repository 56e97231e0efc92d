// main() of every stage: from the command line to the exit status.
#pragma once

#include <functional>
#include <string>

#include "common/command_line.h"

namespace box {

// Calls `run` and returns its exit status. A Failure becomes one line on stderr, perhaps a second
// one with a hint, and the Failure's exit status (125 by default).
int run_main(int argc, char** argv, const std::function<int(CommandLine&)>& run);

// In the child, before the exec: restores what our caller chose for the signals that run_main()
// ignores.
void restore_signals();

// Overwrites the words of our command line, of which some name files of the host: every process
// that sees ours can read them in /proc/PID/cmdline, see proc_pid_cmdline(5).
void show_as(const std::string& name);

}  // namespace box
