// What stands beside the parent while it waits.
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
  // Called before each poll(2): appends the descriptors that are to be waited for. Returns after
  // how many milliseconds serve() must be called although nothing has happened; -1: never.
  [[nodiscard]] virtual int add_to(std::vector<pollfd>& events) = 0;
  // Called after each poll(2), whatever ended it: does what can be done without waiting. Returns
  // SIGINT, SIGQUIT or SIGHUP if a terminal has sent that to the command's group, or 0.
  [[nodiscard]] virtual int serve() = 0;
  // The command has ended: whether serve() has nothing more to do.
  [[nodiscard]] virtual bool has_finished() { return true; }

  // The child has stopped, not because of us, by this signal.
  virtual void child_has_stopped(int signal) = 0;
  // We have got SIGTSTP: the command and we stop.
  virtual void stop() = 0;
  // We have got SIGCONT: perhaps we are in the foreground now.
  virtual void go_on() = 0;
  // Our terminal has sent this signal to our process group, and not to the command's. Returns
  // whether it is passed on; otherwise it is forwarded as others are.
  [[nodiscard]] virtual bool pass_on(int signal) = 0;

  // What is left to do if we are killed by SIGKILL, and the descriptor that is needed for it, or
  // -1: both are for the process that then ends the container.
  [[nodiscard]] virtual int last_descriptor() const { return -1; }
  virtual void tidy_up_after_us() {}
};

}  // namespace box
