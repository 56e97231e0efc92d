// Stage 11: the commands of the runtime.
#pragma once

#include <functional>

#include "stages/01_exec/process.h"
#include "stages/06_pivot_root/own_terminal.h"
#include "stages/11_oci/request.h"
#include "stages/11_oci/state.h"

namespace box {

// Reads the command line and does what it says; `build` is for create and run. Returns the exit
// status. A Failure is written to --log, too, and its exit status is 1, as runc's.
int run_command(int argc, char** argv, const std::function<int(const Request&)>& build);

// In the parent, for `run`: starts the container, which must have been created, and unless it is
// detached waits until it has ended, and deletes it. Returns what a shell would. One that cannot be
// started is deleted.
[[nodiscard]] int run_created(const Request& request, StateFolder& folder, Child& child,
                              OwnTerminal& terminal);

// exec: in exec.cc.
[[nodiscard]] int exec_in_container(const Request& request);

// features and spec: in features.cc.
void print_features();
void write_spec(const std::string& bundle, bool for_ordinary_user);

}  // namespace box
