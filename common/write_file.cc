#include "common/write_file.h"

#include <fcntl.h>
#include <unistd.h>

#include "common/check.h"
#include "common/unique_fd.h"

namespace box {

void write_file(const std::string& path, std::string_view text) {
  const UniqueFd fd(
      check_quietly(open(path.c_str(), O_WRONLY | O_CLOEXEC), "open({}, O_WRONLY)", path));
  check(write(fd.get(), text.data(), text.size()), "write({}, \"{}\")", path, text);
}

void write_all(int fd, std::string_view text, std::string_view what) {
  while (!text.empty()) {
    const auto written = check_quietly(write(fd, text.data(), text.size()), "write({})", what);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

}  // namespace box
