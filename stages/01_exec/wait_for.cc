#include "stages/01_exec/wait_for.h"

#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "common/check.h"
#include "common/unique_fd.h"
#include "stages/01_exec/job_control.h"
#include "stages/01_exec/process.h"
#include "stages/01_exec/signals.h"

namespace box {
namespace {

// While the child builds the container, it cannot handle a signal. Building takes milliseconds; if
// it takes longer than this, a signal ends us, and with us the child.
constexpr int kMostForSetUp = 1000;  // milliseconds

class Waiter {
 public:
  Waiter(Child& child, const std::function<void(int)>& after_signal, Companion& companion)
      : child_(child), after_signal_(after_signal), companion_(companion) {
    const sigset_t watched = watched_signals();
    signals_ =
        UniqueFd(check_quietly(signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd()"));
    companion_.start(child.pid());
  }

  int wait() {
    while (true) {
      wait_for_event();
      started_ = started_ || child_.has_started(0);
      if (const int sent = companion_.serve(); sent != 0) told(sent);
      signalfd_siginfo info;
      while (read(signals_.get(), &info, sizeof info) == sizeof info) {
        handle(static_cast<int>(info.ssi_signo), info.ssi_code);
      }
      if (started_ && !status_) look_at_child();
      if (status_ && (interrupted_ || companion_.has_finished())) return exit_status_of(*status_);
    }
  }

 private:
  void wait_for_event() {
    std::vector<pollfd> events = {{signals_.get(), POLLIN, 0}};
    if (!started_) events.push_back({child_.error_pipe(), POLLIN, 0});
    const int milliseconds = companion_.add_to(events);
    if (poll(events.data(), events.size(), milliseconds) == -1 && errno != EINTR) {
      check_quietly(-1, "poll()");
    }
  }

  void look_at_child() {
    const auto status = child_.new_status(WNOHANG | WUNTRACED);
    if (status && WIFSTOPPED(*status)) {
      companion_.child_has_stopped(WSTOPSIG(*status));
    } else {
      status_ = status;
    }
  }

  void handle(int signal, int code) {
    if (signal == SIGCHLD) return;
    if (signal == SIGTSTP) return companion_.stop();
    if (signal == SIGCONT) return companion_.go_on();
    if (signal == SIGWINCH && companion_.pass_on(signal)) return;
    if (status_) {
      interrupted_ = interrupted_ || signal != SIGWINCH;  // what is left to do is not waited for
      return;
    }
    started_ = started_ || child_.has_started(kMostForSetUp);
    if (!started_) throw Failure(0, "interrupted", 128 + signal);
    if (code != SI_KERNEL || !companion_.pass_on(signal)) {
      forward_signal(child_.pid(), signal, code);
    }
    if (signal != SIGWINCH) told(signal);
  }

  void told(int signal) {
    if (after_signal_ && !status_) after_signal_(signal);
  }

  Child& child_;
  const std::function<void(int)>& after_signal_;
  Companion& companion_;
  UniqueFd signals_;
  bool started_ = false;       // the command runs, as the error pipe has reported
  std::optional<int> status_;  // how the command ended
  bool interrupted_ = false;   // after that
};

}  // namespace

int wait_for(Child& child, const std::function<void(int)>& after_signal, Companion* companion) {
  std::optional<JobControl> job_control;
  if (companion == nullptr) companion = &job_control.emplace();
  return Waiter(child, after_signal, *companion).wait();
}

}  // namespace box
