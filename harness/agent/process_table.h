// The processes of this host, from /proc, see proc(5).
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace box {

struct Process {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  char state = '?';                // as ps(1) shows it: 'Z' for a zombie
  unsigned long long started = 0;  // in clock ticks since the machine's start
  std::string name;
};

[[nodiscard]] std::vector<Process> all_processes();

// What is there of a process that has not been waited for.
[[nodiscard]] Process process_of(pid_t pid);

// Those of `processes` that descend from `ancestor`, itself not included.
[[nodiscard]] std::vector<Process> descendants_of(pid_t ancestor,
                                                  const std::vector<Process>& processes);

// The words of /proc/PID/cmdline.
[[nodiscard]] std::vector<std::string> command_line_of(pid_t process);

}  // namespace box
