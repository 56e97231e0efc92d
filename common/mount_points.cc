#include "common/mount_points.h"

#include <sstream>

#include "common/read_file.h"

namespace box {

std::string decode_path(std::string_view text) {
  const auto is_octal = [](char digit) { return digit >= '0' && digit <= '7'; };
  std::string path;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 3 < text.size() && is_octal(text[i + 1]) && is_octal(text[i + 2]) &&
        is_octal(text[i + 3])) {
      path +=
          static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + text[i + 3] - '0');
      i += 3;
    } else {
      path += text[i];
    }
  }
  return path;
}

std::vector<std::string> mount_fields(std::string_view line) {
  std::vector<std::string> fields;
  while (true) {
    const auto end = line.find(' ');
    fields.emplace_back(line.substr(0, end));
    if (end == std::string_view::npos) return fields;
    line.remove_prefix(end + 1);
  }
}

std::vector<std::string> mount_points() {
  std::vector<std::string> points;
  std::istringstream mountinfo(read_file_if_there("/proc/self/mountinfo"));
  for (std::string line; std::getline(mountinfo, line);) {
    constexpr std::size_t kMountPoint = 4;
    const auto fields = mount_fields(line);
    if (fields.size() > kMountPoint) points.push_back(decode_path(fields[kMountPoint]));
  }
  return points;
}

bool is_in(std::string_view path, std::string_view folder) {
  if (folder == "/") return true;
  return path.substr(0, folder.size()) == folder &&
         (path.size() == folder.size() || path[folder.size()] == '/');
}

}  // namespace box
