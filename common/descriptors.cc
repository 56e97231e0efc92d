#include "common/descriptors.h"

#include <unistd.h>

#include <algorithm>

#include "common/check.h"

namespace box {

void close_all_but(std::vector<int> needed) {
  std::sort(needed.begin(), needed.end());
  unsigned first = STDERR_FILENO + 1;
  const auto close_up_to = [&first](unsigned last) {
    if (first > last) return;
    check(close_range(first, last, 0), "close_range({}, {})", first, static_cast<int>(last));
  };
  for (const int fd : needed) {
    if (fd < static_cast<int>(first)) continue;
    close_up_to(static_cast<unsigned>(fd) - 1);
    first = static_cast<unsigned>(fd) + 1;
  }
  close_up_to(~0U);
}

}  // namespace box
