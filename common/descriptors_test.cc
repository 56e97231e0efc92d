#include "common/descriptors.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <set>

namespace box {
namespace {

// In a process of its own: the test's own descriptors stay.
std::set<int> open_after(const std::vector<int>& needed) {
  int ends[2];
  EXPECT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    (void)dup2(ends[1], 60);
    for (int fd = 0; fd < 60; ++fd) (void)dup2(ends[1], fd);
    std::vector<int> all = needed;
    all.push_back(60);
    close_all_but(all);
    for (int fd = 0; fd < 60; ++fd) {
      if (fcntl(fd, F_GETFD) != -1) (void)!write(60, &fd, sizeof fd);
    }
    _exit(0);
  }
  (void)close(ends[1]);
  std::set<int> open;
  for (int fd = 0; read(ends[0], &fd, sizeof fd) == sizeof fd;) open.insert(fd);
  (void)close(ends[0]);
  (void)waitpid(child, nullptr, 0);
  return open;
}

TEST(CloseAllBut, KeepsWhatIsNeeded) {
  EXPECT_EQ(open_after({}), (std::set<int>{0, 1, 2}));
  EXPECT_EQ(open_after({7, 3}), (std::set<int>{0, 1, 2, 3, 7}));
  EXPECT_EQ(open_after({8, 8, 9, 1, -1}), (std::set<int>{0, 1, 2, 8, 9}));
}

}  // namespace
}  // namespace box
