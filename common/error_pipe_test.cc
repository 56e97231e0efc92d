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
};

Outcome outcome_of(const std::function<void()>& body) {
  Outcome outcome;
  ErrorPipe errors;
  const pid_t child = fork();
  if (child == 0) errors.run_child(body);
  try {
    errors.close_child_end();
    EXPECT_TRUE(errors.child_has_started(-1));
  } catch (const Failure& failure) {
    outcome = {failure.what(), failure.error(), failure.exit_status(), failure.hint()};
  }
  int status = 0;
  waitpid(child, &status, 0);
  if (outcome.what == "nothing") outcome.exit_status = WEXITSTATUS(status);
  return outcome;
}

TEST(ErrorPipe, IsSilentAboutASuccessfulExec) {
  const Outcome outcome = outcome_of([] { execl("/bin/sh", "sh", "-c", "exit 7", nullptr); });
  EXPECT_EQ(outcome.what, "nothing");
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

TEST(ErrorPipe, CutsWhatIsTooLong) {
  const std::string what = outcome_of([] { throw Failure(std::string(100'000, 'x')); }).what;
  EXPECT_GT(what.size(), 1000U);
  EXPECT_EQ(what.find_first_not_of('x'), std::string::npos);
}

TEST(ErrorPipe, ADelayIsNoStart) {
  ErrorPipe errors;
  const pid_t child = fork();
  if (child == 0) errors.run_child([] { pause(); });
  errors.close_child_end();
  EXPECT_FALSE(errors.child_has_started(10));
  kill(child, SIGKILL);
  EXPECT_TRUE(errors.child_has_started(-1));
  waitpid(child, nullptr, 0);
}

TEST(ErrorPipe, AChildThatReturnsDoesNotRunOn) {
  EXPECT_EQ(outcome_of([] {}).exit_status, 125);
}

}  // namespace
}  // namespace box
