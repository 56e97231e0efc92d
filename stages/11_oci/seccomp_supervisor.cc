#include "stages/11_oci/seccomp_supervisor.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <exception>
#include <thread>

#include "common/check.h"
#include "common/error_pipe.h"
#include "common/fd_channel.h"
#include "common/json_node.h"
#include "common/read_file.h"
#include "common/write_file.h"
#include "stages/11_oci/unix_socket.h"

namespace box {
SeccompSupervisor::SeccompSupervisor(const Config& config, const SeccompOptions& seccomp)
    : config_(config) {
  if (config.seccomp_listener.empty() || !asks_supervisor(seccomp.program)) return;
  socket_ = connect_to(config.seccomp_listener, "linux.seccomp.listenerPath");
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

// Not by FdChannel, whose messages are of our own form.
void SeccompSupervisor::send(int listener) const {
  const std::string what = "linux.seccomp.listenerPath: send()";
  check_quietly(lseek(message_.get(), 0, SEEK_SET), "lseek()");
  const std::string text = read_to_end(message_.get(), "the message to the supervisor");
  // All at once: it blocks until there is room, and supervisors expect it whole.
  const std::size_t sent = send_with_descriptor(socket_.get(), text, listener, what);
  if (sent != text.size()) throw Failure(EINTR, what);
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
