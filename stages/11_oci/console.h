// Stage 11: the container's terminal. The runtime ends before the container does, so another
// process has the master.
#pragma once

#include <string>

#include "common/fd_channel.h"
#include "common/unique_fd.h"
#include "stages/06_pivot_root/own_terminal.h"
#include "stages/11_oci/config.h"

namespace box {

class Console {
 public:
  // In the parent: connects to --console-socket. Throws Failure if the process asks for a terminal,
  // and there is no place for it: without the socket that can only be `foreground`, which copies
  // between ours and the container's until that ends.
  Console(const ConfigProcess& process, const std::string& socket, OwnTerminal* foreground);

  // In the child: closes what only the parent needs.
  void close_in_child();
  // In the child, which leads a session: makes the terminal its input and output. `devpts` is the
  // container's. Returns a mount of the terminal, for /dev/console; -1 if there is none.
  [[nodiscard]] UniqueFd open_in(const UniqueFd& devpts);
  // In the child: gives its input and output to the user who gets the command, so that these can be
  // opened again as /dev/stdout.
  void give_to_user() const;
  // In the parent, when the child has opened it: passes the master on.
  void pass_on();

 private:
  const ConfigProcess& process_;
  OwnTerminal* foreground_;
  FdChannel socket_;  // to the process that is to have the master
  FdChannel parent_end_;
  FdChannel child_end_;
};

}  // namespace box
