#include "stages/11_oci/unix_socket.h"

#include <fmt/format.h>
#include <sys/socket.h>

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

}  // namespace box
