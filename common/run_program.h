// Runs programs of the system to their end: tar, newuidmap.
#pragma once

#include <string>
#include <vector>

namespace box {

// Looks `words[0]` up in PATH, runs it with /dev/null as its input, and waits. Throws Failure if
// the program is missing (ENOENT), or if it does not exit with 0; then with what it wrote to
// stderr.
void run_program(const std::vector<std::string>& words);

}  // namespace box
