#include "stages/11_oci/start_gate.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "common/check.h"
#include "common/descriptors.h"
#include "stages/11_oci/succession.h"
#include "stages/11_oci/unix_socket.h"

namespace box {
namespace {

constexpr char kGo = 'g';

}  // namespace

StartGate::StartGate(const StateFolder& folder) : listener_(new_unix_socket()) {
  const sockaddr_un address = address_in(folder.get(), kStartSocket);
  check_quietly(bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
                "bind({})", address.sun_path);
  check_quietly(listen(listener_.get(), 1), "listen({})", address.sun_path);
}

std::vector<int> StartGate::and_for(std::vector<int> needed) const {
  needed.insert(needed.end(), {listener_.get(), ErrorPipe::end_of_child()});
  return needed;
}

void StartGate::wait(std::vector<int> needed) {
  close_all_but(and_for(std::move(needed)));
  forget_environment();
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
  UniqueFd connection = new_unix_socket();
  const sockaddr_un address = address_in(folder.get(), kStartSocket);
  if (connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) ==
      -1) {
    if (errno == ENOENT) throw Failure("cannot start an already running container");
    if (errno == ECONNREFUSED) throw Failure("cannot start a container that has stopped");
    check_quietly(-1, "connect(the container)");
  }
  // In this order, so that a container whose socket is there has not begun.
  check_quietly(unlinkat(folder.get(), kStartSocket, 0), "unlink({})", kStartSocket);
  if (send(connection.get(), &kGo, 1, MSG_NOSIGNAL) != 1) {
    if (errno == EPIPE) throw Failure("cannot start a container that has stopped");
    check_quietly(-1, "send(the container)");
  }
  return ErrorPipe(std::move(connection));
}

}  // namespace box
