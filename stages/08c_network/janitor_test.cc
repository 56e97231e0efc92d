#include "stages/08c_network/janitor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include <gtest/gtest.h>

#include "common/check.h"

namespace box {
namespace {

class Pipe {
 public:
  Pipe() {
    int ends[2];
    check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
    read_end = UniqueFd(ends[0]);
    write_end = UniqueFd(ends[1]);
  }
  // All that was written, once nobody can write any more.
  std::string read_all() {
    write_end.close();
    std::string text;
    char part[100];
    ssize_t size = 0;
    while ((size = read(read_end.get(), part, sizeof part)) > 0) {
      text.append(part, static_cast<std::size_t>(size));
    }
    return text;
  }
  UniqueFd read_end;
  UniqueFd write_end;
};

void write_to(const Pipe& pipe, const std::string& text) {
  check_quietly(write(pipe.write_end.get(), text.data(), text.size()), "write()");
}

TEST(Janitor, WorksWhenItIsLetGo) {
  Pipe pipe;
  {
    Janitor janitor([&](const Janitor::Leash& leash) { write_to(pipe, "told: " + leash.wait()); });
    janitor.tell("hood");
    janitor.tell("7");
  }
  EXPECT_EQ(pipe.read_all(), "told: hood7");
}

TEST(Janitor, WorksWhenItsParentIsKilled) {
  Pipe pipe;
  const pid_t parent = check_quietly(fork(), "fork()");
  if (parent == 0) {
    Janitor janitor([&](const Janitor::Leash& leash) { write_to(pipe, "told: " + leash.wait()); });
    janitor.tell("x");
    (void)raise(SIGKILL);
  }
  EXPECT_EQ(pipe.read_all(), "told: x");
  EXPECT_EQ(waitpid(parent, nullptr, 0), parent);
}

}  // namespace
}  // namespace box
