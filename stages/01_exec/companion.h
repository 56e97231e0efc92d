// What the parent does beside waiting.
#pragma once

#include <poll.h>
#include <sys/types.h>

#include <vector>

namespace box {

// In the parent, while it waits. In stages 01 to 05 the command is a job in our terminal, see
// JobControl; from stage 06 on it has a terminal of its own, see OwnTerminal.
class Companion {
 public:
  Companion() = default;
  virtual ~Companion() = default;
  Companion(const Companion&) = delete;
  Companion& operator=(const Companion&) = delete;

  // Called once, before the first poll(2): `child` leads its process group.
  virtual void start(pid_t child) = 0;
  // Called before each poll(2): appends the descriptors to wait for. Returns after how many
  // milliseconds serve() must be called even if nothing has happened, or -1 for never.
  [[nodiscard]] virtual int add_to(std::vector<pollfd>& events) = 0;
  // Called after each poll(2), whatever made it return: does what can be done without waiting.
  // Returns SIGINT, SIGQUIT or SIGHUP if a terminal has sent that to the command's group, or 0.
  [[nodiscard]] virtual int serve() = 0;
  // Called after the command has ended. Returns whether serve() has nothing more to do.
  [[nodiscard]] virtual bool has_finished() { return true; }

  // The child was stopped by this signal, which did not come from us.
  virtual void child_has_stopped(int signal) = 0;
  // We have received SIGTSTP: stops the command, then us.
  virtual void stop() = 0;
  // We have received SIGCONT: perhaps we are in the foreground now.
  virtual void go_on() = 0;
  // Our terminal has sent this signal to our process group, and not to the command's. Returns
  // whether this call has passed it on; otherwise it is forwarded like other signals.
  [[nodiscard]] virtual bool pass_on(int signal) = 0;

  // What has to be done if SIGKILL ends us, and the descriptor that this needs, or -1. The process
  // that then ends the container does it.
  [[nodiscard]] virtual int last_descriptor() const { return -1; }
  virtual void tidy_up_after_us() {}
};

}  // namespace box
