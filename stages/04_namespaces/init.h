// A small PID 1, as docker run --init has it.
#pragma once

namespace box {

// In the child, which is PID 1: forks. Returns only in the new process, PID 2, which will run the
// command. PID 1 stays: it reaps the orphans that the kernel gives it, see wait(2), forwards
// signals to the command, and exits with the command's status; the kernel then kills all other
// processes of the namespace.
void become_init();

}  // namespace box
