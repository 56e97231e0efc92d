#include "common/run_program.h"

#include <cerrno>
#include <string>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

std::string complaint_of(const std::string& script) {
  try {
    run_program({"sh", "-c", script});
    return "none";
  } catch (const Failure& failure) {
    return failure.what();
  }
}

TEST(RunProgram, IsContentWithSuccess) { EXPECT_EQ(complaint_of("echo ignored >&2"), "none"); }

TEST(RunProgram, SaysWhatTheProgramSaid) {
  EXPECT_EQ(complaint_of("echo no luck >&2; echo more >&2; exit 1"), "no luck");
}

TEST(RunProgram, SaysHowASilentProgramEnded) {
  EXPECT_EQ(complaint_of("exit 3"), "sh failed with status 3");
  EXPECT_EQ(complaint_of("kill -9 $$"), "sh was killed by SIGKILL");
}

TEST(RunProgram, GivesNoInput) { EXPECT_EQ(complaint_of("! read -r line"), "none"); }

TEST(RunProgram, SaysThatAProgramIsAbsent) {
  try {
    run_program({"no-such-program"});
    FAIL() << "did not throw";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.error(), ENOENT);
  }
}

}  // namespace
}  // namespace box
