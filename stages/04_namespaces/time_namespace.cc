#include "stages/04_namespaces/time_namespace.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "common/parse_number.h"
#include "common/unique_fd.h"
#include "common/write_file.h"

namespace box {
namespace {

constexpr std::int64_t kMostSeconds = 4'611'686'018;  // KTIME_SEC_MAX / 2 of the kernel
constexpr const char* kForChildren = "/proc/self/ns/time_for_children";

bool kernel_has_time_namespaces() {
  if (access(kForChildren, F_OK) == 0) return true;
  if (errno != ENOENT || access("/proc/self/ns", F_OK) == -1) {
    throw Failure(errno, fmt::format("access({})", kForChildren), kExitSetupFailed,
                  "is /proc mounted?");
  }
  return false;
}

// The offset of `clock` with which it shows `uptime` now, in the format of
// /proc/PID/timens_offsets. The nanoseconds of an offset are never negative.
std::string offset_of(const char* name, clockid_t clock, std::int64_t uptime) {
  timespec now = {};
  check_quietly(clock_gettime(clock, &now), "clock_gettime({})", name);
  const std::int64_t seconds = uptime - now.tv_sec;
  if (now.tv_nsec == 0) return fmt::format("{} {} 0", name, seconds);
  return fmt::format("{} {} {}", name, seconds - 1, 1'000'000'000 - now.tv_nsec);
}

}  // namespace

std::int64_t parse_uptime(std::string_view text) {
  const auto seconds = parse_number<std::int64_t>(text);
  if (!seconds || *seconds < 0 || *seconds > kMostSeconds) {
    throw Failure(fmt::format("is not a number of seconds from 0 to {}", kMostSeconds));
  }
  return *seconds;
}

void enter_time_namespace(const std::optional<std::int64_t>& uptime) {
  if (!kernel_has_time_namespaces()) {
    if (!uptime) return;
    throw Failure("--uptime: this kernel has no time namespaces",
                  "Linux 5.6 and later have them, if CONFIG_TIME_NS is set");
  }
  enter_time_namespace_with({offset_of("monotonic", CLOCK_MONOTONIC, uptime.value_or(0)),
                             offset_of("boottime", CLOCK_BOOTTIME, uptime.value_or(0))});
}

void enter_time_namespace_with(const std::vector<std::string>& offsets) {
  // Unlike all other namespaces, this one is not entered by the process that makes it, but by its
  // children: the kernel accepts offsets only until the first process is inside.
  check(unshare(CLONE_NEWTIME), "unshare(CLONE_NEWTIME)");
  for (const auto& offset : offsets) write_file("/proc/self/timens_offsets", offset);
  // This process becomes the command and makes no child. Recent kernels let it enter at execve(2);
  // setns(2) works on all.
  const UniqueFd own(
      check_quietly(open(kForChildren, O_RDONLY | O_CLOEXEC), "open({})", kForChildren));
  check(setns(own.get(), CLONE_NEWTIME), "setns({}, CLONE_NEWTIME)", kForChildren);
}

}  // namespace box
