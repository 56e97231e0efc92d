#include "common/command_line.h"

#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "common/failure.h"

namespace box {
namespace {

// A stage with one option of each kind.
struct Parsed {
  bool init = false;
  std::string workdir;
  std::vector<std::string> env;
  std::vector<std::string> command;
  std::string error;  // what() and hint of the failure, if there was one
};

Parsed parse(std::vector<std::string> words) {
  words.insert(words.begin(), "/somewhere/05_userns");
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);

  Parsed parsed;
  CommandLine line(static_cast<int>(words.size()), argv.data());
  line.add_flag("--init", parsed.init, "help");
  line.add_option("-w,--workdir", "DIR", "help", parsed.workdir);
  line.add_option("-e,--env", "K=V", "help", [&](const std::string& value) {
    if (value.find('=') == std::string::npos) throw Failure("is not K=V");
    parsed.env.push_back(value);
  });
  line.add_command(parsed.command);
  try {
    line.parse();
  } catch (const Failure& failure) {
    parsed.error = std::string(failure.what()) + " | " + failure.hint();
  }
  return parsed;
}

using Words = std::vector<std::string>;

TEST(CommandLine, TheCommandBeginsAtTheFirstWordThatIsNoOption) {
  const Words command = {"ls", "-l", "--init", "--help", "--", "-e"};
  const Parsed parsed = parse({"--workdir", "/tmp", "ls", "-l", "--init", "--help", "--", "-e"});
  EXPECT_EQ(parsed.error, "");
  EXPECT_EQ(parsed.command, command);
  EXPECT_EQ(parsed.workdir, "/tmp");
  EXPECT_FALSE(parsed.init);
}

TEST(CommandLine, ItsOwnNameIsPrintable) {
  const auto name_of = [](std::string word) {
    char* argv[] = {word.data(), nullptr};
    return CommandLine(1, argv).program();
  };
  EXPECT_EQ(name_of("/somewhere/05_userns"), "05_userns");
  EXPECT_EQ(name_of("05\x1b[2J\nhint: x"), "05?[2J?hint: x");
  EXPECT_EQ(name_of(""), "box");
  char* none[] = {nullptr};
  EXPECT_EQ(CommandLine(0, none).program(), "box");
}

TEST(CommandLine, TwoDashesEndTheOptions) {
  EXPECT_EQ(parse({"--init", "--", "sh", "-c", "x"}).command, (Words{"sh", "-c", "x"}));
  EXPECT_EQ(parse({"--", "--", "x"}).command, (Words{"--", "x"}));
}

TEST(CommandLine, TakesOptionsInEveryForm) {
  const Parsed parsed = parse({"-eA=1", "--env=B=2", "-e", "C=3 4", "-w", "/x", "--init", "sh"});
  EXPECT_EQ(parsed.error, "");
  EXPECT_EQ(parsed.env, (Words{"A=1", "B=2", "C=3 4"}));
  EXPECT_EQ(parsed.workdir, "/x");
  EXPECT_TRUE(parsed.init);
  EXPECT_EQ(parsed.command, Words{"sh"});
}

TEST(CommandLine, AnOptionTakesOneValue) {
  EXPECT_EQ(parse({"-e", "A=1", "sh", "-c", "B=2"}).command, (Words{"sh", "-c", "B=2"}));
}

TEST(CommandLine, KeepsOddArguments) {
  EXPECT_EQ(parse({"echo", "", "[1,2]", "a b", "\"q\"", "'"}).command,
            (Words{"echo", "", "[1,2]", "a b", "\"q\"", "'"}));
  EXPECT_EQ(parse({"-e", "A=[1,2]", "-e", "B=\"q\"", "-e", "C=", "sh"}).env,
            (Words{"A=[1,2]", "B=\"q\"", "C="}));
}

TEST(CommandLine, RefusesWhatIsWrong) {
  const std::string help = "05_userns --help lists the options";
  const std::pair<Words, std::string> cases[] = {
      {{}, "no COMMAND given | try 05_userns /bin/sh"},
      {{"--"}, "no COMMAND given | try 05_userns /bin/sh"},
      {{"--no-such", "sh"}, "unknown option --no-such | " + help},
      {{"-x", "sh"}, "unknown option -x | " + help},
      {{"--memory=1m", "sh"}, "unknown option --memory=1m | 07_cgroups and later stages have it"},
      {{"-itd", "sh"},
       "unknown option -d | the container runs as long as this program does: put & at the end of "
       "the line"},
      {{"-p8080:80", "sh"}, "unknown option -p8080:80 | 08c_network and later stages have it"},
      {{"--name"}, "--name needs a value: NAME | " + help},
      {{"-e", "novalue", "sh"}, "--env novalue: is not K=V | "},
  };
  for (const auto& [words, error] : cases) EXPECT_EQ(parse(words).error, error);
  EXPECT_NE(parse({"--workdir"}).error.find("--workdir"), std::string::npos);
}

TEST(CommandLine, AcceptsWhatUsersOfDockerType) {
  const Parsed parsed = parse({"-i", "--rm", "--name", "web", "--interactive", "sh", "-t"});
  EXPECT_EQ(parsed.error, "");
  EXPECT_EQ(parsed.command, (Words{"sh", "-t"}));
}

TEST(CommandLine, AsksTheLayersForAHint) {
  char program[] = "02_chroot";
  char* argv[] = {program, nullptr};
  CommandLine line(1, argv);
  line.add_hint([](const Failure& failure) {
    return failure.error() == EPERM ? std::string("be root") : std::string();
  });
  EXPECT_EQ(line.hint_for(Failure(EPERM, "chroot(/)")), "be root");
  EXPECT_EQ(line.hint_for(Failure(ENOENT, "chroot(/)")), "");
  EXPECT_EQ(line.hint_for(Failure(EPERM, "chroot(/)", 125, "its own")), "its own");
}

}  // namespace
}  // namespace box
