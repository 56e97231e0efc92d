#include "stages/07_cgroups/limits.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cctype>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>

#include "common/parse_number.h"

namespace box {
namespace {

// The period in which the kernel refills the quota of CPU time, and the smallest quota that it
// accepts, both in microseconds, see "CPU bandwidth control" in the kernel's sched-bwc.rst.
constexpr long kPeriod = 100'000;
constexpr long kLeastQuota = 1'000;

// As much as the set-up itself and a shell need, and a little more.
constexpr std::uint64_t kLeastMemory = 1 << 20;

constexpr std::uint64_t kMostPids = 1 << 22;  // PID_MAX_LIMIT of the kernel

// The unit of a size as a power of two: 20 for "m", "mb", "MiB" and " M".
std::optional<unsigned> shift_of_unit(std::string_view unit) {
  if (unit.starts_with(' ')) unit.remove_prefix(1);
  std::string lower(unit);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (lower.empty() || lower == "b") return 0;
  const auto found = std::string_view("kmgtp").find(lower[0]);
  lower.erase(0, 1);
  if (found == std::string_view::npos) return std::nullopt;
  if (!lower.empty() && lower != "b" && lower != "i" && lower != "ib") return std::nullopt;
  return 10 * static_cast<unsigned>(found + 1);
}

// "8:0" for "8:0", for "/dev/sda" and for links to it. Throws Failure.
std::string disk_of(const std::string& device) {
  std::string number = device;
  const auto colon = device.find(':');
  if (colon == std::string::npos || !parse_number<std::uint64_t>(device.substr(0, colon)) ||
      !parse_number<std::uint64_t>(device.substr(colon + 1))) {
    struct stat st = {};
    if (stat(device.c_str(), &st) == -1) throw Failure(errno, device);
    if (!S_ISBLK(st.st_mode)) throw Failure(device + " is not a block device");
    number = fmt::format("{}:{}", major(st.st_rdev), minor(st.st_rdev));
  }
  const std::string entry = "/sys/dev/block/" + number;
  if (access(entry.c_str(), F_OK) == -1) {
    throw Failure("this machine has no disk " + device, "lsblk lists them");
  }
  if (access((entry + "/partition").c_str(), F_OK) == 0) {
    throw Failure(device + " is a partition, but the kernel limits only whole disks",
                  "lsblk lists them");
  }
  return number;
}

// "wbps=1m" -> "wbps=1048576". Throws Failure.
std::string parse_io_limit(std::string_view text) {
  const auto equals = text.find('=');
  const std::string_view key = text.substr(0, equals);
  if (equals == std::string_view::npos ||
      (key != "rbps" && key != "wbps" && key != "riops" && key != "wiops")) {
    throw Failure("is not DEVICE:KEY=VALUE, with rbps, wbps, riops or wiops as KEY");
  }
  const bool bytes = key.substr(1) == "bps";
  const auto number = bytes ? parse_size(text.substr(equals + 1))
                            : parse_number<std::uint64_t>(text.substr(equals + 1)).value_or(0);
  if (number == 0 || (!bytes && number > UINT32_MAX)) {
    throw Failure(fmt::format("{} must be a number from 1", key));
  }
  return fmt::format("{}={}", key, number);
}

}  // namespace

CgroupOptions::CgroupOptions(CommandLine& line) {
  line.add_option("--cpus", "N", "use at most N CPUs, such as 0.5",
                  [this](const std::string& text) {
                    cpu_max = parse_cpus(text, sysconf(_SC_NPROCESSORS_ONLN));
                  });
  line.add_option("-m,--memory", "SIZE", "use at most SIZE of memory, such as 64m, 0.5g or 64MiB",
                  [this](const std::string& text) { memory_max = parse_memory(text); });
  line.add_option("--pids-limit", "N", "run at most N processes",
                  [this](const std::string& text) { pids_max = parse_pids(text); });
  line.add_option("--io-max", "DEV:KEY=VALUE",
                  "limit a disk per second: rbps, wbps, riops, wiops, such as /dev/sda:wbps=1m",
                  [this](const std::string& text) { io_max.push_back(parse_io_max(text)); });
  line.add_flag("--stats", stats, "report at the end what the container used");
}

std::vector<std::string> CgroupOptions::controllers() const {
  std::vector<std::string> names;
  if (!cpu_max.empty() || stats) names.emplace_back("cpu");
  // A kernel thread writes a file's data to the disk later. Only with the memory controller does
  // the kernel know for which cgroup, see "Writeback" in cgroup-v2.rst.
  if (!memory_max.empty() || !io_max.empty() || stats) names.emplace_back("memory");
  if (!pids_max.empty()) names.emplace_back("pids");
  if (!io_max.empty()) names.emplace_back("io");
  return names;
}

std::string parse_cpus(std::string_view text, long available) {
  const auto number = parse_number<double>(text);
  if (!number) throw Failure("is not a number of CPUs, such as 0.5");
  const double cpus = *number;
  constexpr double kLeast = static_cast<double>(kLeastQuota) / kPeriod;
  if (!(cpus >= kLeast && cpus <= static_cast<double>(available))) {  // also true for NaN
    throw Failure(
        fmt::format("must be between {} and {}, the number of CPUs here", kLeast, available));
  }
  return fmt::format("{} {}", std::lround(cpus * kPeriod), kPeriod);
}

std::uint64_t parse_size(std::string_view text) {
  const auto digits = text.substr(0, text.find_first_not_of("0123456789."));
  const auto shift = shift_of_unit(text.substr(digits.size()));
  const char* end = digits.data() + digits.size();
  double number = 0;
  const auto [stop, error] = std::from_chars(digits.data(), end, number, std::chars_format::fixed);
  if (!shift || error != std::errc() || stop != end || digits.ends_with('.')) {
    throw Failure(
        "is not a size; use a number with an optional suffix b, k, m or g, such as 64m"
        " or 0.5g");
  }
  const double bytes = std::ldexp(number, static_cast<int>(*shift));
  constexpr double kMost = 0x1p63;
  if (!(bytes < kMost)) throw Failure("is more than the kernel can count");
  const auto whole = parse_number<std::uint64_t>(digits);  // exact, where a double may not be
  return whole ? *whole << *shift : static_cast<std::uint64_t>(bytes);
}

std::string parse_memory(std::string_view text) {
  const std::uint64_t bytes = parse_size(text);
  if (bytes < kLeastMemory)
    throw Failure(
        "is less than 1m, which is too little for a container to"
        " start");
  return std::to_string(bytes);
}

std::string parse_pids(std::string_view text) {
  const auto number = parse_number<std::uint64_t>(text);
  if (!number || *number == 0 || *number > kMostPids) {
    throw Failure(fmt::format("must be a number of processes between 1 and {}", kMostPids));
  }
  return std::to_string(*number);
}

std::string parse_io_max(const std::string& text) {
  const auto colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    throw Failure("is not DEVICE:KEY=VALUE, such as /dev/sda:wbps=1m");
  }
  std::string_view rest = std::string_view(text).substr(colon + 1);
  std::string limits;
  while (true) {
    const auto comma = rest.find(',');
    limits += " " + parse_io_limit(rest.substr(0, comma));
    if (comma == std::string_view::npos) break;
    rest.remove_prefix(comma + 1);
  }
  return disk_of(text.substr(0, colon)) + limits;
}

}  // namespace box
