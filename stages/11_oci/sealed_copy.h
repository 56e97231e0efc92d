// Stage 11: the program that enters containers is not the host's file.
#pragma once

namespace box {

// Becomes a copy of this program in memory that can no longer be written to, unless it is one or
// the command enters no container. An engine's containers often have no user namespace: their root
// could otherwise write to our file on the host through /proc/PID/exe of a process of ours that has
// entered them (CVE-2019-5736). Must be the first thing that main() does.
void run_from_sealed_copy(char** argv);

}  // namespace box
