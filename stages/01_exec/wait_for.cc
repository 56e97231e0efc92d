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
  Waiter(Child& child, const std::function<void(int)>& after_signal, Companion* companion)
      : child_(child), after_signal_(after_signal), companion_(companion) {
    const sigset_t watched = watched_signals();
    signals_ =
        UniqueFd(check_quietly(signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd()"));
    if (companion == nullptr) job_control_.emplace(child.pid());
  }

  int wait() {
    while (true) {
      wait_for_event();
      started_ = started_ || child_.has_started(0);
      if (companion_ != nullptr) companion_->serve();
      signalfd_siginfo info;
      while (read(signals_.get(), &info, sizeof info) == sizeof info) {
        handle(static_cast<int>(info.ssi_signo), info.ssi_code);
      }
      if (!started_) continue;
      const auto status = child_.new_status(WNOHANG | WUNTRACED);
      if (!status) continue;
      if (!WIFSTOPPED(*status)) return exit_status_of(*status);
      if (job_control_) job_control_->child_has_stopped(WSTOPSIG(*status));
    }
  }

 private:
  void wait_for_event() {
    std::vector<pollfd> events = {{signals_.get(), POLLIN, 0}};
    if (!started_) events.push_back({child_.error_pipe(), POLLIN, 0});
    if (companion_ != nullptr) companion_->add_to(events);
    if (poll(events.data(), events.size(), -1) == -1 && errno != EINTR) {
      check_quietly(-1, "poll()");
    }
  }

  void handle(int signal, int code) {
    if (companion_ != nullptr) companion_->take_signal(signal);
    switch (signal) {
      case SIGCHLD:
        if (const int sent = job_control_ ? job_control_->look_at_sentinel() : 0) told(sent);
        return;
      case SIGTSTP:
        return job_control_ ? job_control_->stop() : void(raise(SIGSTOP));
      case SIGCONT:
        if (job_control_) job_control_->go_on();
        return;
      default:
        break;
    }
    started_ = started_ || child_.has_started(kMostForSetUp);
    if (!started_) throw Failure(0, "interrupted", 128 + signal);
    forward_signal(child_.pid(), signal, code);
    if (signal != SIGWINCH) told(signal);
  }

  void told(int signal) {
    if (after_signal_) after_signal_(signal);
  }

  Child& child_;
  const std::function<void(int)>& after_signal_;
  Companion* companion_;
  UniqueFd signals_;
  std::optional<JobControl> job_control_;
  bool started_ = false;  // the command runs, as the error pipe has reported
};

}  // namespace

int wait_for(Child& child, const std::function<void(int)>& after_signal, Companion* companion) {
  return Waiter(child, after_signal, companion).wait();
}

}  // namespace box
