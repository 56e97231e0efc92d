// A small PID 1, as docker run --init has it.
#pragma once

namespace box {

// In the child, which is PID 1: forks. Returns in the new process, PID 2, which shall run the
// command. PID 1 stays: it reaps the orphans that the kernel gives it, see wait(2), forwards
// signals to the command, and leaves with its exit status; the kernel then kills what is left.
void become_init();

}  // namespace box
