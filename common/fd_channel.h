// Passes descriptors from one process to another.
#pragma once

#include <string>
#include <utility>

#include "common/unique_fd.h"

namespace box {

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
