// Stage 07: --memory, --cpus, --pids-limit and --io-max.
#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "harness/fuzz/fuzz.h"
#include "stages/07_cgroups/limits.h"

namespace {

using box::fuzz::accepted;
using box::fuzz::require;

constexpr long kCpus = 64;

// All of `text`, which one of our own functions has made.
std::uint64_t number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(error == std::errc() && stop == text.data() + text.size(), "a limit is a number");
  return value;
}

void check_memory(const std::string& text) {
  const auto parsed = accepted([&] { return box::parse_memory(text); });
  if (!parsed) return;
  const std::uint64_t bytes = number(*parsed);
  require(bytes >= 1 << 20 && bytes <= INT64_MAX, "a limit of memory is one that the kernel has");
  require(box::parse_memory(*parsed) == *parsed, "bytes mean themselves");

  const std::string digits = text.substr(0, text.find_first_not_of("0123456789."));
  std::uint64_t before = 0;
  for (const char* unit : {"b", "k", "m", "g"}) {
    const auto larger = accepted([&] { return box::parse_memory(digits + unit); });
    if (!larger) continue;  // less than the least, or more than the kernel counts
    require(number(*larger) >= before, "a larger unit is no less memory");
    before = number(*larger);
  }
}

void check_cpus(const std::string& text) {
  const auto parsed = accepted([&] { return box::parse_cpus(text, kCpus); });
  if (!parsed) return;
  const auto words = box::fuzz::split(*parsed, ' ');
  require(words.size() == 2 && words[1] == "100000", "cpu.max is QUOTA PERIOD");
  const std::uint64_t quota = number(words[0]);
  require(quota >= 1000 && quota <= kCpus * 100000UL, "a quota is one that the kernel takes");
}

void check_pids(const std::string& text) {
  const auto parsed = accepted([&] { return box::parse_pids(text); });
  if (!parsed) return;
  require(number(*parsed) >= 1 && number(*parsed) <= 1 << 22, "a limit of processes is in range");
  require(box::parse_pids(*parsed) == *parsed, "what is printed is what was read");
}

// A disk of this machine, as "MAJOR:MINOR", or "" if it has none.
std::string find_disk() {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/dev/block", none)) {
    if (!std::filesystem::exists(entry.path() / "partition")) return entry.path().filename();
  }
  return "";
}

void check_io(const std::string& text) {
  static const std::string disk = find_disk();
  if (disk.empty()) return;
  const auto parsed = accepted([&] { return box::parse_io_max(disk + ":" + text); });
  if (!parsed) return;
  const auto words = box::fuzz::split(*parsed, ' ');
  require(words.size() >= 2 && words[0] == disk, "io.max is DEVICE KEY=VALUE ...");
  std::string again = disk;
  for (std::size_t i = 1; i < words.size(); ++i) {
    require(number(words[i].substr(words[i].find('=') + 1)) > 0, "a limit of 0 is refused");
    again += (i == 1 ? ":" : ",") + words[i];
  }
  require(box::parse_io_max(again) == *parsed, "what is printed is what was read");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(box::fuzz::text_of(data, size));
  check_memory(text);
  check_cpus(text);
  check_pids(text);
  check_io(text);
  return 0;
}
