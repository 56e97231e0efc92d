#include "common/read_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "common/unique_fd.h"

namespace box {

// Without std::ifstream, which takes an error for the end of the file, or throws "basic_filebuf::
// underflow error" without the file's name.
std::string read_to_end(int file, const std::string& path, std::size_t most) {
  std::string text;
  char part[4096];
  while (text.size() <= most) {
    const auto size =
        check_quietly(TEMP_FAILURE_RETRY(read(file, part, sizeof part)), "read({})", path);
    if (size == 0) break;
    text.append(part, static_cast<std::size_t>(size));
  }
  return text;
}

bool file_exists(const std::string& path) {
  if (access(path.c_str(), F_OK) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR || errno == ENODEV) return false;
  throw Failure(errno, "access(" + path + ")");
}

std::string read_file(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  return file.get() == -1 ? "" : read_to_end(file.get(), path);
}

std::string read_file_if_there(const std::string& path) {
  const UniqueFd file(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() == -1 && errno == ENOENT) return "";
  check_quietly(file.get(), "open({})", path);
  return read_to_end(file.get(), path);
}

}  // namespace box
