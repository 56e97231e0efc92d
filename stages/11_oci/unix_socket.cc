#include "stages/11_oci/unix_socket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include <filesystem>

#include "common/check.h"

namespace box {

UniqueFd new_unix_socket() {
  return UniqueFd(check_quietly(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket()"));
}

sockaddr_un address_in(int folder, const std::string& name) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  fmt::format("/proc/self/fd/{}/{}", folder, name)
      .copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

UniqueFd connect_to(const std::string& path, const std::string& option) {
  const std::filesystem::path file(path);
  const std::string parent = file.has_parent_path() ? file.parent_path().string() : ".";
  const UniqueFd folder(check_quietly(open(parent.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC),
                                      "{}: open({})", option, parent));
  const sockaddr_un address = address_in(folder.get(), file.filename());
  UniqueFd connection = new_unix_socket();
  check_quietly(
      connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
      "{}: connect({})", option, path);
  return connection;
}

}  // namespace box
