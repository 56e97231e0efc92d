// Stage 05: --uid-map and --gid-map. A line of the input is a range.
#include <algorithm>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "harness/fuzz/fuzz.h"
#include "stages/05_userns/id_map.h"

namespace {

using box::fuzz::accepted;
using box::fuzz::require;

bool same(const box::IdRange& a, const box::IdRange& b) {
  return a.inside == b.inside && a.outside == b.outside && a.count == b.count;
}

void check_range(const box::IdRange& range) {
  constexpr std::uint64_t kLast = UINT32_MAX - 1;  // 2^32 - 1 means "no id"
  require(range.count > 0, "no range is empty");
  require(std::uint64_t{range.inside} + range.count - 1 <= kLast &&
              std::uint64_t{range.outside} + range.count - 1 <= kLast,
          "every id of a range is an id");
  const std::string printed = std::to_string(range.inside) + ":" + std::to_string(range.outside) +
                              ":" + std::to_string(range.count);
  require(same(box::parse_id_range(printed), range), "what is printed is what was read");
}

// Another way to find what check_that_ranges_are_disjoint() looks for: sorted, neighbours only.
bool are_disjoint(std::vector<std::pair<std::uint64_t, std::uint64_t>> ranges) {
  std::sort(ranges.begin(), ranges.end());
  for (std::size_t i = 1; i < ranges.size(); ++i) {
    if (ranges[i - 1].first + ranges[i - 1].second > ranges[i].first) return false;
  }
  return true;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  box::IdMap map;
  for (const std::string& line : box::fuzz::split(box::fuzz::text_of(data, size), '\n')) {
    const auto range = accepted([&] { return box::parse_id_range(line); });
    if (!range) continue;
    check_range(*range);
    map.push_back(*range);
  }
  std::vector<std::pair<std::uint64_t, std::uint64_t>> inside, outside;
  for (const auto& range : map) {
    inside.emplace_back(range.inside, range.count);
    outside.emplace_back(range.outside, range.count);
    require(box::maps(map, range.inside) && box::maps(map, range.inside + (range.count - 1)),
            "a map maps the ends of its ranges");
  }
  const bool disjoint = accepted([&] {
                          box::check_that_ranges_are_disjoint(map);
                          return true;
                        }).has_value();
  require(disjoint == (are_disjoint(inside) && are_disjoint(outside)),
          "a map is accepted if and only if its ranges share no id on either side");
  return 0;
}
