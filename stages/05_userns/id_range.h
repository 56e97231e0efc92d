// One range of a map of ids, see user_namespaces(7).
#pragma once

#include <cstdint>
#include <vector>

#include "common/failure.h"

namespace box {

inline constexpr std::uint64_t kIds = UINT32_MAX;  // the ids are 0 to 2^32 - 2

// The ids inside, inside + 1, ... are outside, outside + 1, ... on the host: `count` of them.
struct IdRange {
  std::uint32_t inside;
  std::uint32_t outside;
  std::uint32_t count;
};

using IdMap = std::vector<IdRange>;

}  // namespace box
