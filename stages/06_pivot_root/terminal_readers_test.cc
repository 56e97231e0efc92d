#include "stages/06_pivot_root/terminal_readers.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <fstream>
#include <functional>
#include <string>

#include "common/unique_fd.h"

namespace box {
namespace {

// A terminal at which no key is pressed, and a pipe into which nothing is written.
class ReadsTerminal : public testing::Test {
 protected:
  ReadsTerminal() {
    int master = -1;
    int slave = -1;
    EXPECT_EQ(openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
    int ends[2] = {-1, -1};
    EXPECT_EQ(pipe(ends), 0);
    master_ = UniqueFd(master);
    terminal_ = UniqueFd(slave);
    pipe_ = UniqueFd(ends[0]);
    other_end_ = UniqueFd(ends[1]);
  }

  // What is seen of a process once it waits: `wait` does not return.
  static bool is_seen_in(const std::function<void()>& wait) {
    const pid_t child = fork();
    if (child == 0) {
      (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
      (void)raise(SIGSTOP);
      wait();
      _exit(1);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, WUNTRACED), child);
    EXPECT_EQ(kill(child, SIGCONT), 0);
    while (state_of(child) != 'S' && state_of(child) != 'Z') usleep(1000);
    const bool seen = reads_terminal(child);
    (void)kill(child, SIGKILL);
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status)) << "it did not wait";
    return seen;
  }

  static char state_of(pid_t process) {
    std::ifstream file("/proc/" + std::to_string(process) + "/stat");
    std::string number, name;
    char state = '\0';
    file >> number >> name >> state;
    return state;
  }

  UniqueFd master_, terminal_, pipe_, other_end_;
};

TEST_F(ReadsTerminal, InRead) {
  char key = '\0';
  EXPECT_TRUE(is_seen_in([&] { (void)!read(terminal_.get(), &key, 1); }));
  EXPECT_FALSE(is_seen_in([&] { (void)!read(pipe_.get(), &key, 1); }));
}

TEST_F(ReadsTerminal, InPoll) {
  const auto wait_for = [&](short events) {
    return [this, events] {
      std::array<pollfd, 2> fds = {{{pipe_.get(), POLLIN, 0}, {terminal_.get(), events, 0}}};
      (void)poll(fds.data(), fds.size(), -1);
    };
  };
  EXPECT_TRUE(is_seen_in(wait_for(POLLIN)));
  EXPECT_FALSE(is_seen_in(wait_for(POLLPRI)));
}

// The set for exceptions is behind the one for reading, as in an array of a program's.
TEST_F(ReadsTerminal, InSelect) {
  const auto wait_for = [&](int readable, int exceptional) {
    return [readable, exceptional] {
      std::array<fd_set, 2> sets = {};
      FD_SET(readable, &sets[0]);
      FD_SET(exceptional, &sets[1]);
      (void)syscall(SYS_pselect6, FD_SETSIZE, &sets[0], nullptr, &sets[1], nullptr, nullptr);
    };
  };
  EXPECT_TRUE(is_seen_in(wait_for(terminal_.get(), pipe_.get())));
  EXPECT_FALSE(is_seen_in(wait_for(pipe_.get(), terminal_.get())));
}

TEST_F(ReadsTerminal, InAChildOfTheProcess) {
  EXPECT_TRUE(is_seen_in([&] {
    char key = '\0';
    const pid_t child = fork();
    if (child == 0) {
      (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
      (void)!read(terminal_.get(), &key, 1);
    }
    while (state_of(child) != 'S') {
    }
    (void)pause();
  }));
}

}  // namespace
}  // namespace box
