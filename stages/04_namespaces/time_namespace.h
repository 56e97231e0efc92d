// Stage 04: a time namespace, see time_namespaces(7).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace box {

// The seconds of --uptime. Throws Failure.
[[nodiscard]] std::int64_t parse_uptime(std::string_view text);

// In the child, while the host's /proc is in place: puts this process into a new time namespace, in
// which the clocks that count from the boot, CLOCK_BOOTTIME and CLOCK_MONOTONIC, are at `uptime`
// seconds now, or at 0. Throws Failure; also if this kernel has no time namespaces, but only if an
// uptime was asked for.
void enter_time_namespace(const std::optional<std::int64_t>& uptime);
// The same with the offsets of clocks, as lines of /proc/PID/timens_offsets.
void enter_time_namespace_with(const std::vector<std::string>& offsets);

}  // namespace box
