#include "stages/11_oci/seccomp_supervisor.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <exception>
#include <filesystem>
#include <thread>

#include "common/check.h"
#include "common/error_pipe.h"
#include "common/json_node.h"
#include "common/read_file.h"
#include "common/write_file.h"
#include "stages/11_oci/unix_socket.h"

namespace box {
namespace {

UniqueFd connect_to(const std::string& path) {
  const std::filesystem::path whole = path;
  const std::string folder = whole.parent_path();
  const UniqueFd opened(check_quietly(open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC),
                                      "linux.seccomp.listenerPath: open({})", folder));
  const sockaddr_un address = address_in(opened.get(), whole.filename());
  UniqueFd connection = new_unix_socket();
  check_quietly(
      connect(connection.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
      "linux.seccomp.listenerPath: connect({})", path);
  return connection;
}

}  // namespace

SeccompSupervisor::SeccompSupervisor(const Config& config, const SeccompOptions& seccomp)
    : config_(config) {
  if (config.seccomp_listener.empty() || !asks_supervisor(seccomp.program)) return;
  socket_ = connect_to(config.seccomp_listener);
  message_ = UniqueFd(check_quietly(memfd_create("message", MFD_CLOEXEC), "memfd_create()"));
}

void SeccompSupervisor::has_process(pid_t pid, const std::string& state) const {
  if (socket_.get() == -1) return;
  const Json message = {{"ociVersion", config_.version},
                        {"fds", {"seccompFd"}},
                        {"pid", pid},
                        {"metadata", config_.seccomp_metadata},
                        {"state", parse_json(state)}};
  check_quietly(ftruncate(message_.get(), 0), "ftruncate()");
  check_quietly(lseek(message_.get(), 0, SEEK_SET), "lseek()");
  write_all(message_.get(), message.dump(), "the message to the supervisor");
}

// Not FdChannel, whose messages are of our own form.
void SeccompSupervisor::send(int listener) const {
  constexpr const char* kWhat = "linux.seccomp.listenerPath: send()";
  check_quietly(lseek(message_.get(), 0, SEEK_SET), "lseek()");
  std::string text = read_to_end(message_.get(), "the message to the supervisor");
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof listener)] = {};
  iovec bytes = {text.data(), text.size()};
  msghdr message = {};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof listener);
  std::memcpy(CMSG_DATA(header), &listener, sizeof listener);
  // All at once: it blocks until there is room, and supervisors expect it whole.
  const auto sent =
      check_quietly(TEMP_FAILURE_RETRY(sendmsg(socket_.get(), &message, MSG_NOSIGNAL)), kWhat);
  if (static_cast<std::size_t>(sent) != text.size()) throw Failure(EINTR, kWhat);
  // Each connection has one message, so its end is the message's.
  check_quietly(shutdown(socket_.get(), SHUT_WR), "shutdown()");
}

void SeccompSupervisor::install(const SeccompFilter& filter) const {
  if (socket_.get() == -1) return filter.install();
  constexpr int kNotYet = -1;
  constexpr int kNone = -2;
  std::atomic<int> listener = kNotYet;
  std::atomic<bool> is_done = false;
  std::thread sender([&] {
    while (listener == kNotYet) std::this_thread::yield();
    try {
      if (listener != kNone) send(listener);
    } catch (...) {
      ErrorPipe::report_and_end(std::current_exception());  // the other thread could not tell it
    }
    is_done = true;
  });
  try {
    listener = filter.install_for_supervisor(config_.seccomp_listener_flags);
  } catch (...) {
    listener = kNone;
    sender.join();
    throw;
  }
  while (!is_done) {
  }
  sender.detach();  // execve(2) ends it
}

}  // namespace box
