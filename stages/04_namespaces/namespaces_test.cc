#include "stages/04_namespaces/namespaces.h"

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>

#include <gtest/gtest.h>

namespace box {
namespace {

void do_nothing(int) {}

TEST(TakesSignal, WhatIsHandledBlockedOrIgnored) {
  sigset_t blocked;
  sigset_t before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  (void)sigprocmask(SIG_BLOCK, &blocked, &before);
  const auto handler = std::signal(SIGUSR2, do_nothing);
  const auto ignored = std::signal(SIGHUP, SIG_IGN);
  for (const int signal : {SIGUSR1, SIGUSR2, SIGHUP}) EXPECT_TRUE(takes_signal(getpid(), signal));
  for (const int signal : {SIGVTALRM, SIGRTMAX}) EXPECT_FALSE(takes_signal(getpid(), signal));
  (void)std::signal(SIGHUP, ignored);
  (void)std::signal(SIGUSR2, handler);
  (void)sigprocmask(SIG_SETMASK, &before, nullptr);
}

TEST(TakesSignal, AProcessThatHasEndedTookIt) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_TRUE(takes_signal(child, SIGTERM));
  EXPECT_EQ(waitpid(child, nullptr, 0), child);
}

}  // namespace
}  // namespace box
