// Stage 06: a terminal of the container's own, see pty(7). Our caller's stays outside.
#pragma once

#include <poll.h>
#include <sys/types.h>
#include <termios.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <vector>

#include "common/fd_channel.h"
#include "common/unique_fd.h"
#include "stages/01_exec/companion.h"
#include "stages/01_exec/process.h"
#include "stages/05_userns/id_map.h"
#include "stages/06_pivot_root/outer_terminal.h"
#include "stages/06_pivot_root/relay.h"

namespace box {

// start_child_in(), but the child leads a session: without one it would have our terminal as
// /dev/tty, and could type into it by TIOCSTI, see ioctl_tty(2).
[[nodiscard]] Child start_session_in(std::uint64_t namespaces, const IdOptions& ids,
                                     const std::function<void()>& body);

// The two ends of a new terminal, see pty(7).
struct Pty {
  UniqueFd master;
  UniqueFd slave;
};
// In the child: opens one in the open devpts(5).
[[nodiscard]] Pty open_pty(const UniqueFd& devpts);

// If our input, output or error output is a terminal, the container gets another one in its place,
// a pair of devices: the command has the slave, in its own /dev/pts, and we have the master. While
// the command runs, we copy keys from our terminal to the master, and the command's output from the
// master to our terminal. We pass on bytes and sizes, and interpret neither.
//
// Each of the three that is not a terminal is passed on as it is. If none is a terminal, the
// container does not get one.
class OwnTerminal : public Companion {
 public:
  // In the parent, before the child starts.
  OwnTerminal();
  ~OwnTerminal() override;

  // In the child, which leads a session. `devpts` is the container's own. Returns a mount of the
  // new terminal, for /dev/console; -1 if there is none.
  [[nodiscard]] UniqueFd open_in(const UniqueFd& devpts);
  // In the child: gives the terminal to the user of `ids`, so that they can open it again as
  // /dev/stdout or /dev/console. Returns `ids`.
  const IdOptions& give_to(const IdOptions& ids) const;

  // In the parent.
  void start(pid_t child) override;
  [[nodiscard]] int add_to(std::vector<pollfd>& events) override;
  [[nodiscard]] int serve() override;
  [[nodiscard]] bool has_finished() override;
  void child_has_stopped(int signal) override;
  void stop() override;
  void go_on() override;
  [[nodiscard]] bool pass_on(int signal) override;
  [[nodiscard]] int last_descriptor() const override;
  void tidy_up_after_us() override;

 private:
  void receive();
  void take_keys();
  void take_keys_if_due();
  [[nodiscard]] bool is_time_to_look();
  [[nodiscard]] bool is_wanted() const;
  [[nodiscard]] int signal_typed() const;
  void stop_with_child(int signal, bool our_group);

  OuterTerminal outer_;
  FdChannel parent_end_;
  FdChannel child_end_;
  UniqueFd slave_;  // in the child until the exec; in the parent, so that the master stays usable
  bool has_failed_ = false;  // to receive them
  Relay relay_;
  pid_t child_ = -1;
  bool needs_keys_ = false;  // the command reads the keys, or is likely to
  bool had_keys_ = false;
  termios first_modes_{};  // the modes that the command's terminal has at first
  std::chrono::steady_clock::time_point last_look_{};
};

}  // namespace box
