// Passes descriptors from one process to another.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "common/unique_fd.h"

namespace box {

// Sends `bytes` at once, and with them the descriptor unless it is -1, see SCM_RIGHTS in unix(7).
// Returns how many bytes were sent. Throws Failure, which names `what`, and raises no SIGPIPE if
// the other end is closed.
std::size_t send_with_descriptor(int socket, std::string_view bytes, int fd,
                                 const std::string& what);

// One end of a channel between a parent and its child, see SCM_RIGHTS in unix(7). Each message has
// a name, and may carry a descriptor, which the other process then has as well: a mount that only
// the parent may make, or the end of a terminal that only the child can make.
class FdChannel {
 public:
  struct Message {
    std::string name;
    UniqueFd fd;  // -1: none
  };

  FdChannel() = default;
  // One end of a connection that exists already.
  explicit FdChannel(UniqueFd socket) : socket_(std::move(socket)) {}
  // Both ends.
  [[nodiscard]] static std::pair<FdChannel, FdChannel> make();

  void send(const std::string& name, int fd = -1) const;
  // Waits for the next message. Returns false if the other end is closed and no message is left.
  [[nodiscard]] bool receive(Message& message) const;

  [[nodiscard]] int get() const { return socket_.get(); }
  void close() { socket_.close(); }

 private:
  UniqueFd socket_;
};

}  // namespace box
