#include "stages/01_exec/signals.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include <gtest/gtest.h>

namespace box {
namespace {

bool nothing_is_ignored_or_blocked() {
  sigset_t blocked;
  (void)sigprocmask(SIG_BLOCK, nullptr, &blocked);
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action = {};
    if (sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_DFL) return false;
    if (sigismember(&blocked, signal) == 1) return false;
  }
  return true;
}

// In a child, because a sanitizer has handlers of its own.
TEST(ForgetCallersSignals, NoneIsIgnoredOrBlockedAnyMore) {
  const pid_t child = fork();
  if (child == 0) {
    sigset_t all;
    sigfillset(&all);
    for (int signal = 1; signal < NSIG; ++signal) (void)std::signal(signal, SIG_IGN);
    (void)sigprocmask(SIG_SETMASK, &all, nullptr);
    if (nothing_is_ignored_or_blocked()) _exit(2);
    forget_callers_signals();
    _exit(nothing_is_ignored_or_blocked() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(ExitStatusOf, IsAsInAShell) {
  EXPECT_EQ(exit_status_of(W_EXITCODE(7, 0)), 7);
  EXPECT_EQ(exit_status_of(W_EXITCODE(0, SIGTERM)), 128 + SIGTERM);
}

}  // namespace
}  // namespace box
