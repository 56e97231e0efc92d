#include "harness/faults/inject/tracer.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "common/failure.h"

namespace box {
namespace {

struct Outcome {
  int status = 0;
  std::string log;
};

// Runs a shell's script with the fault; "" is none.
Outcome run(const std::string& script, std::optional<Fault> fault, unsigned patience = 1) {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* log = open_memstream(&text, &size);
  Outcome outcome;
  outcome.status =
      Tracer(std::move(fault), log).run({"/bin/sh", "-c", script}, std::nullopt, patience);
  std::fclose(log);
  outcome.log = std::string(text, size);
  std::free(text);
  return outcome;
}

int exit_status(const Outcome& outcome) {
  EXPECT_TRUE(WIFEXITED(outcome.status)) << outcome.log;
  return WEXITSTATUS(outcome.status);
}

// A folder of the test's own, as a name for the shell.
std::string new_folder() {
  std::string path = "/tmp/tracer-test-XXXXXX";
  EXPECT_NE(mkdtemp(path.data()), nullptr);
  return path;
}

TEST(Tracer, WithoutAFaultTheProgramEndsAsItDoes) {
  const Outcome outcome = run("exit 7", std::nullopt);
  EXPECT_EQ(exit_status(outcome), 7);
  EXPECT_NE(outcome.log.find("call\t0\texit_group\t1\t?"), std::string::npos) << outcome.log;
  EXPECT_NE(outcome.log.find("end\t0\texit\t7"), std::string::npos) << outcome.log;
}

TEST(Tracer, TheSignalThatEndsTheProgramIsSeen) {
  const Outcome outcome = run("kill -TERM $$", std::nullopt);
  ASSERT_TRUE(WIFSIGNALED(outcome.status));
  EXPECT_EQ(WTERMSIG(outcome.status), SIGTERM);
}

TEST(Tracer, AFailingCallIsNotMade) {
  const std::string folder = new_folder();
  const std::string script = "umask 077; cd " + folder + " && exit 3";
  EXPECT_EQ(exit_status(run(script, std::nullopt)), 3);
  const Outcome outcome = run(script + "; [ \"$PWD\" != " + folder + " ] && exit 4",
                              parse_failing_call("0:chdir:1:EACCES"));
  EXPECT_EQ(exit_status(outcome), 4) << outcome.log;
  EXPECT_NE(outcome.log.find("fault\t0\tchdir\t1\t-13\t" + folder), std::string::npos)
      << outcome.log;
  rmdir(folder.c_str());
}

TEST(Tracer, OneCallOfOneProcessFailsAndNoOther) {
  const auto status_of = [&](const char* point) {
    return exit_status(
        run("(cd / && exit 3); a=$?; (cd / && exit 3); exit $((10 * a + $?))",
            point == nullptr ? std::nullopt : std::optional(parse_failing_call(point))));
  };
  EXPECT_EQ(status_of(nullptr), 33);
  const int first = status_of("0.0:chdir:1:EIO");
  EXPECT_NE(first / 10, 3);
  EXPECT_EQ(first % 10, 3);
  const int second = status_of("0.1:chdir:1:EIO");
  EXPECT_EQ(second / 10, 3);
  EXPECT_NE(second % 10, 3);
}

TEST(Tracer, AFailingCloseHasClosedTheFile) {
  // As close(2) says: a second close(2) of this number would close another file.
  const std::string script = "exec 5</dev/null; exec 5<&-; [ -e /proc/$$/fd/5 ] && exit 1; exit 9";
  const Outcome usual = run(script, std::nullopt);
  ASSERT_EQ(exit_status(usual), 9);
  std::string point;
  for (int nth = 1; nth < 40 && point.empty(); ++nth) {
    const std::string line = "call\t0\tclose\t" + std::to_string(nth) + "\t0\t5\n";
    if (usual.log.find(line) != std::string::npos) {
      point = "0:close:" + std::to_string(nth) + ":EIO";
    }
  }
  ASSERT_FALSE(point.empty()) << usual.log;
  const Outcome failed = run(script, parse_failing_call(point));
  EXPECT_EQ(exit_status(failed), 9);
  EXPECT_NE(failed.log.find("fault\t0\tclose"), std::string::npos) << failed.log;
}

TEST(Tracer, AShortWriteHasWrittenThatMuch) {
  const std::string folder = new_folder();
  const std::string file = folder + "/file";
  const std::string script = "echo abc >" + file + "; read line <" + file + "; rm " + file +
                             "; [ \"$line\" = abc ] && exit 9; exit 6";
  EXPECT_EQ(exit_status(run(script, std::nullopt)), 9);
  // dash(1) tries again with the rest, which is in order only if the first byte has been written.
  const Outcome outcome = run(script, parse_short_call("0:write:1:1"));
  EXPECT_EQ(exit_status(outcome), 9) << outcome.log;
  EXPECT_NE(outcome.log.find("fault\t0\twrite\t1\t1\t"), std::string::npos) << outcome.log;
}

TEST(Tracer, AProcessIsKilledBeforeItMakesTheCall) {
  const std::string folder = new_folder();
  const std::string script = "(cd " + folder + "; : >made; exit 0); exit $?";
  const Outcome outcome = run(script, parse_kill("0.0@0.0:chdir:1"));
  EXPECT_EQ(exit_status(outcome), 128 + SIGKILL) << outcome.log;
  EXPECT_NE(access((folder + "/made").c_str(), F_OK), 0);
  EXPECT_NE(outcome.log.find("fault\t0.0\tchdir\t1\tSIGKILL"), std::string::npos) << outcome.log;
  rmdir(folder.c_str());
}

TEST(Tracer, AParentIsKilledAtItsChildsCall) {
  const Outcome outcome = run("(cd /; exit 0); exit 5", parse_kill("0@0.0:chdir:1"));
  ASSERT_TRUE(WIFSIGNALED(outcome.status));
  EXPECT_EQ(WTERMSIG(outcome.status), SIGKILL);
}

TEST(Tracer, AVictimThatIsNotThereIsSaid) {
  const Outcome outcome = run("cd /; exit 5", parse_kill("0.7@0:chdir:1"));
  EXPECT_EQ(exit_status(outcome), 5);
  EXPECT_NE(outcome.log.find("missed\t0\tchdir\t1"), std::string::npos) << outcome.log;
}

TEST(Tracer, ACallThatNeverComesIsNoFault) {
  const Outcome outcome = run("exit 5", parse_failing_call("0:mount:1:EPERM"));
  EXPECT_EQ(exit_status(outcome), 5);
  EXPECT_EQ(outcome.log.find("fault\t"), std::string::npos);
}

TEST(Tracer, AMisspeltCallIsRefused) {
  EXPECT_THROW(Tracer(parse_failing_call("0:mont:1:EPERM"), stderr), Failure);
}

TEST(Tracer, WhatOutlivesTheProgramIsLetGo) {
  const std::string folder = new_folder();
  const std::string file = folder + "/file";
  const Outcome outcome = run("(sleep 1.5; : >" + file + ") & exit 6", std::nullopt, 1);
  EXPECT_EQ(exit_status(outcome), 6);
  for (int i = 0; i < 100 && access(file.c_str(), F_OK) != 0; ++i) usleep(50 * 1000);
  EXPECT_EQ(access(file.c_str(), F_OK), 0) << "it was killed, or is still stopped";
  unlink(file.c_str());
  rmdir(folder.c_str());
}

}  // namespace
}  // namespace box
