#include "stages/03_userspace/userspace.h"

#include <gtest/gtest.h>

#include <utility>

#include "common/failure.h"

namespace box {
namespace {

using Words = std::vector<std::string>;

// Parses and builds; returns the directory, or the error. The built-in root is "/builtin".
std::string build(Words words, const std::string& rootfs = "") {
  words.insert(words.begin(), "03_userspace");
  words.push_back("sh");
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  CommandLine line(static_cast<int>(words.size()), argv.data());
  Words command;
  line.add_command(command);
  UserspaceOptions userspace(line);
  try {
    line.parse();
    return build_userspace(userspace, rootfs, "", [] { return std::string("/builtin"); });
  } catch (const Failure& failure) {
    return failure.what();
  }
}

TEST(Userspace, WithoutOptionsTheRootIsAsItWas) {
  EXPECT_EQ(build({}), "/builtin");
  EXPECT_EQ(build({"--userspace", "none"}), "/builtin");
  EXPECT_EQ(build({}, "/some/root"), "/some/root");
}

TEST(Userspace, RefusesBadInputBeforeAnythingIsMade) {
  const std::pair<Words, const char*> cases[] = {
      {{"--userspace", "small"}, "--userspace small: must be none, full or minimal"},
      {{"--with", "/no/such"}, "--with /no/such: No such file or directory"},
      {{"--with", "/etc/passwd/x"}, "--with /etc/passwd/x: Not a directory"},
      {{"--with", "no-such-program"},
       "--with no-such-program: not in "
       "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
  };
  for (const auto& [words, error] : cases) EXPECT_EQ(build(words), error);

  const Words minimal = {"--userspace", "minimal"};
  EXPECT_EQ(build(minimal, "/no/such/dir"), "--rootfs /no/such/dir: No such file or directory");
  EXPECT_EQ(build(minimal, "/etc/passwd"), "--rootfs /etc/passwd: Not a directory");
  EXPECT_EQ(build(minimal, "/etc/passwd/x"), "--rootfs /etc/passwd/x: Not a directory");
#ifndef __i386__  // whose tests run on amd64, where sh is a program for another processor
  EXPECT_EQ(build(minimal, "/"),
            "--rootfs /: already exists, and was not built by --userspace minimal");
#endif
  EXPECT_EQ(build({"--userspace", "full"}, "/usr/root"),
            "cannot copy /usr into /usr/root, which is inside it");
}

TEST(Userspace, FindsProgramsAsAShellWould) {
  char name[] = "03_userspace", with[] = "--with", shell[] = "sh";
  char* argv[] = {name, with, shell, shell, nullptr};
  CommandLine line(4, argv);
  Words command;
  line.add_command(command);
  UserspaceOptions userspace(line);
  line.parse();
  ASSERT_EQ(userspace.with.size(), 1u);
  EXPECT_TRUE(userspace.with[0].starts_with("/"));
  EXPECT_TRUE(userspace.with[0].ends_with("/sh"));
}

}  // namespace
}  // namespace box
