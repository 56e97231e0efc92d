#include "common/read_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "common/unique_fd.h"

namespace box {
namespace {

// Without std::ifstream, whose message is "basic_filebuf::underflow error" without the file's name.
std::string read_all(const UniqueFd& file, const std::string& path) {
  std::string text;
  char part[4096];
  while (true) {
    const auto size =
        check_quietly(TEMP_FAILURE_RETRY(read(file.get(), part, sizeof part)), "read({})", path);
    if (size == 0) return text;
    text.append(part, static_cast<std::size_t>(size));
  }
}

}  // namespace

std::string read_file(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return file.get() == -1 ? "" : read_all(file, path);
}

std::string read_file_if_there(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() == -1 && errno == ENOENT) return "";
  check_quietly(file.get(), "open({})", path);
  return read_all(file, path);
}

}  // namespace box
