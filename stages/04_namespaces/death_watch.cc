#include "stages/04_namespaces/death_watch.h"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <vector>

#include "common/check.h"
#include "common/descriptors.h"
#include "common/unique_fd.h"

namespace box {
namespace {

// A pidfd refers to that process even after its number has been given to another one, see
// pidfd_open(2).
UniqueFd open_process(pid_t process) {
  return UniqueFd(check_quietly(static_cast<int>(syscall(SYS_pidfd_open, process, 0)),
                                "pidfd_open({})", process));
}

// Throws nothing: an exception would go through the functions that called us, as in the parent.
[[noreturn]] void watch(const UniqueFd& parent, const UniqueFd& container,
                        Companion* companion) noexcept {
  // Signals that are meant for the container or for our caller must not reach this process.
  sigset_t all;
  sigfillset(&all);
  (void)sigprocmask(SIG_SETMASK, &all, nullptr);
  (void)setsid();
  for (int fd = 0; fd <= STDERR_FILENO; ++fd) (void)close(fd);  // a pipe must not stay open
  std::vector<int> needed = {parent.get(), container.get()};
  if (companion != nullptr && companion->last_descriptor() != -1) {
    needed.push_back(companion->last_descriptor());
  }
  try {
    close_all_but(needed);
  } catch (const Failure&) {  // what stays open does no harm, because this process ends with us
  }
  pollfd ended[] = {{parent.get(), POLLIN, 0}, {container.get(), POLLIN, 0}};
  while (poll(ended, 2, -1) == -1) {
  }
  if ((ended[0].revents & POLLIN) != 0) {
    (void)syscall(SYS_pidfd_send_signal, container.get(), SIGKILL, nullptr, 0);
    if (companion != nullptr) companion->tidy_up_after_us();
  }
  _exit(0);
}

}  // namespace

DeathWatch::DeathWatch(pid_t container, Companion* companion) {
  const UniqueFd parent_fd = open_process(getpid());
  const UniqueFd container_fd = open_process(container);
  watcher_ = check_quietly(fork(), "fork()");
  if (watcher_ == 0) watch(parent_fd, container_fd, companion);
}

DeathWatch::~DeathWatch() {
  (void)kill(watcher_, SIGKILL);
  (void)waitpid(watcher_, nullptr, 0);
}

}  // namespace box
