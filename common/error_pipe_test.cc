#include "common/error_pipe.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <stdexcept>
#include <string>

#include <gtest/gtest.h>

#include "common/check.h"

namespace box {
namespace {

// Runs `body` in a child; what the parent learned of it: a failure, or 'nothing' and a status.
struct Outcome {
  std::string what = "nothing";
  int error = 0;
  int exit_status = 0;
  std::string hint;
  ErrorPipe::State state = ErrorPipe::State::kBuilding;
};

Outcome outcome_of(const std::function<void()>& body) {
  Outcome outcome;
  ErrorPipe errors;
  const pid_t child = fork();
  if (child == 0) errors.run_child(body);
  try {
    errors.close_child_end();
    outcome.state = errors.state_of_child(-1);
  } catch (const Failure& failure) {
    outcome = {failure.what(), failure.error(), failure.exit_status(), failure.hint(), {}};
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (outcome.what == "nothing") outcome.exit_status = WEXITSTATUS(status);
  return outcome;
}

TEST(ErrorPipe, IsSilentAboutASuccessfulExec) {
  const Outcome outcome = outcome_of([] {
    ErrorPipe::announce_exec();
    execl("/bin/sh", "sh", "-c", "exit 7", nullptr);
  });
  EXPECT_EQ(outcome.what, "nothing");
  EXPECT_EQ(outcome.state, ErrorPipe::State::kStarted);
  EXPECT_EQ(outcome.exit_status, 7);
}

TEST(ErrorPipe, CarriesAFailure) {
  const Outcome outcome = outcome_of([] { throw Failure(EPERM, "chroot(/)", 126, "be root"); });
  EXPECT_EQ(outcome.what, "chroot(/): Operation not permitted");
  EXPECT_EQ(outcome.error, EPERM);
  EXPECT_EQ(outcome.exit_status, 126);
  EXPECT_EQ(outcome.hint, "be root");
}

TEST(ErrorPipe, CarriesOtherExceptions) {
  EXPECT_EQ(outcome_of([] { throw std::runtime_error("no idea"); }).what, "no idea");
}

TEST(ErrorPipe, CarriesAFailureOfTheExecItself) {
  const Outcome outcome = outcome_of([] {
    ErrorPipe::announce_exec();
    throw Failure(ENOENT, "sh", 127);
  });
  EXPECT_EQ(outcome.what, "sh: No such file or directory");
  EXPECT_EQ(outcome.exit_status, 127);
}

TEST(ErrorPipe, KeepsTheReasonOfWhatIsTooLong) {
  const std::string what =
      outcome_of([] { throw Failure(ENOENT, std::string(100'000, 'x')); }).what;
  EXPECT_GT(what.size(), 1000U);
  EXPECT_TRUE(what.starts_with("xxx"));
  EXPECT_TRUE(what.ends_with("xxx: No such file or directory")) << what;
}

TEST(ErrorPipe, ADelayIsNoStartAndADeathNeither) {
  ErrorPipe errors;
  const pid_t child = fork();
  if (child == 0) errors.run_child([] { pause(); });
  errors.close_child_end();
  EXPECT_EQ(errors.state_of_child(10), ErrorPipe::State::kBuilding);
  kill(child, SIGKILL);
  EXPECT_EQ(errors.state_of_child(-1), ErrorPipe::State::kGone);
  waitpid(child, nullptr, 0);
}

TEST(ErrorPipe, ExecIsOverOnlyWhenItIsDone) {
  ErrorPipe errors;
  const pid_t child = fork();
  if (child == 0) {
    errors.run_child([] {
      ErrorPipe::announce_exec();
      pause();
    });
  }
  errors.close_child_end();
  EXPECT_EQ(errors.state_of_child(200), ErrorPipe::State::kBuilding);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
}

TEST(ErrorPipe, WhatTheChildReportedIsTheFirstFailure) {
  EXPECT_EQ(first_failure(), nullptr);
  ErrorPipe errors;
  const pid_t child = fork();
  if (child == 0) errors.run_child([] { throw Failure("the cause"); });
  errors.close_child_end();
  waitpid(child, nullptr, 0);
  errors.keep_report();
  ASSERT_NE(first_failure(), nullptr);
  EXPECT_STREQ(first_failure()->what(), "the cause");
}

TEST(ErrorPipe, AChildThatReturnsDoesNotRunOn) {
  EXPECT_EQ(outcome_of([] {}).exit_status, 125);
}

}  // namespace
}  // namespace box
