// The limits of a container, in the format of cgroup v2's files, see the kernel's cgroup-v2.rst:
// https://docs.kernel.org/admin-guide/cgroup-v2.html
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/command_line.h"

namespace box {

// --cpus, -m/--memory, --pids-limit, --io-max and --stats. An empty text means no limit.
struct CgroupOptions {
  explicit CgroupOptions(CommandLine& line);

  std::string cpu_max;
  std::string memory_max;
  std::string pids_max;
  std::vector<std::string> io_max;  // one device each
  bool stats = false;

  // Whether an option was given that needs a cgroup of the container's own.
  [[nodiscard]] bool any() const { return !controllers().empty(); }
  // The controllers that the options need: "cpu", "memory", "pids", "io".
  [[nodiscard]] std::vector<std::string> controllers() const;
};

// "0.5" -> "50000 100000": of each 100000 microseconds it may run for 50000, on all CPUs together.
// Throws Failure, also for more than `available` CPUs.
[[nodiscard]] std::string parse_cpus(std::string_view text, long available);

// "64m", "64MiB" -> 67108864. The units are docker's: b, k, m, g, t, p, in powers of 1024, with or
// without "b" or "ib" behind. Throws Failure.
[[nodiscard]] std::uint64_t parse_size(std::string_view text);

// The same, as a limit of a container's memory. Throws Failure, also for less than 1m.
[[nodiscard]] std::string parse_memory(std::string_view text);

// "32" -> "32". Throws Failure.
[[nodiscard]] std::string parse_pids(std::string_view text);

// "/dev/sda:wbps=1m,riops=100" -> "8:0 wbps=1048576 riops=100"; the device may be named "8:0", too.
// Throws Failure, also if this machine has no such disk.
[[nodiscard]] std::string parse_io_max(const std::string& text);

}  // namespace box
