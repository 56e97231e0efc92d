#include "stages/11_oci/start_gate.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <string>

#include "common/check.h"
#include "common/descriptors.h"

namespace box {
namespace {

constexpr char kGo = 'g';

// By the open folder, because a path of a socket has at most 107 characters.
sockaddr_un address_in(const StateFolder& folder) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  const std::string path = fmt::format("/proc/self/fd/{}/{}", folder.get(), kStartSocket);
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

UniqueFd new_socket() {
  return UniqueFd(check_quietly(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), "socket()"));
}

}  // namespace

StartGate::StartGate(const StateFolder& folder) : listener_(new_socket()) {
  const sockaddr_un address = address_in(folder);
  check_quietly(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
                "bind({})", address.sun_path);
  check_quietly(listen(listener_.get(), 1), "listen({})", address.sun_path);
}

void StartGate::wait(std::vector<int> needed) {
  needed.insert(needed.end(), {listener_.get(), ErrorPipe::end_of_child()});
  close_all_but(needed);
  ErrorPipe::announce_exec();
  ErrorPipe::report_to(
      UniqueFd(check_quietly(fcntl(listener_.get(), F_DUPFD_CLOEXEC, 3), "dup(the start socket)")));
  UniqueFd connection(check_quietly(
      TEMP_FAILURE_RETRY(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)), "accept()"));
  char go = 0;
  if (TEMP_FAILURE_RETRY(read(connection.get(), &go, 1)) != 1 || go != kGo) {
    throw Failure("the process that started this container has ended");
  }
  ErrorPipe::report_to(std::move(connection));
  listener_.close();
}

ErrorPipe open_gate(const StateFolder& folder) {
  UniqueFd connection = new_socket();
  const sockaddr_un address = address_in(folder);
  if (connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
      -1) {
    if (errno == ENOENT) throw Failure("cannot start an already running container");
    if (errno == ECONNREFUSED) throw Failure("cannot start a container that has stopped");
    check_quietly(-1, "connect(the container)");
  }
  // In this order, so that a container whose socket is there has not begun.
  check_quietly(unlinkat(folder.get(), kStartSocket, 0), "unlink({})", kStartSocket);
  if (send(connection.get(), &kGo, 1, MSG_NOSIGNAL) != 1) {
    throw Failure("cannot start a container that has stopped");
  }
  return ErrorPipe(std::move(connection));
}

}  // namespace box
