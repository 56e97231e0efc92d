#include "stages/06_pivot_root/terminal_readers.h"

#include <linux/major.h>
#include <poll.h>
#include <sys/select.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <string>
#include <vector>

namespace box {
namespace {

// A container may have, and wait for, any number.
constexpr std::size_t kMostProcesses = 256;
constexpr std::uintptr_t kMostFds = 64;

bool is_terminal(const std::string& path) {
  struct stat st = {};
  if (stat(path.c_str(), &st) == -1 || !S_ISCHR(st.st_mode)) return false;
  const unsigned number = major(st.st_rdev);
  return (number >= UNIX98_PTY_SLAVE_MAJOR &&
          number < UNIX98_PTY_SLAVE_MAJOR + UNIX98_PTY_MAJOR_COUNT) ||
         st.st_rdev == makedev(TTYAUX_MAJOR, 0);  // /dev/tty
}

// Returns `count` values of the process's memory at `address`, or fewer, if it may not be read.
template <typename T>
std::vector<T> read_memory(pid_t process, std::uintptr_t address, std::size_t count) {
  std::vector<T> values(count);
  const iovec here = {values.data(), count * sizeof(T)};
  const iovec there = {reinterpret_cast<void*>(address), count * sizeof(T)};
  const auto size = process_vm_readv(process, &here, 1, &there, 1, 0);
  values.resize(size < 0 ? 0 : static_cast<std::size_t>(size) / sizeof(T));
  return values;
}

// The descriptors that a process waits for to be readable, if that is why it waits.
std::vector<unsigned> waited_for(pid_t process) {
  std::ifstream file("/proc/" + std::to_string(process) + "/syscall");
  long call = -1;
  std::uintptr_t first = 0;
  std::uintptr_t second = 0;
  if (!(file >> call >> std::hex >> first >> second)) return {};  // it runs
  std::vector<unsigned> fds;
  switch (call) {
    case SYS_read:
    case SYS_readv:
      return {static_cast<unsigned>(first)};
#ifdef SYS_poll  // only older processors have these two
    case SYS_poll:
#endif
    case SYS_ppoll:
      for (const pollfd& fd : read_memory<pollfd>(process, first, std::min(second, kMostFds))) {
        if ((fd.events & POLLIN) != 0) fds.push_back(static_cast<unsigned>(fd.fd));
      }
      break;
#ifdef SYS_select
    case SYS_select:
#endif
    case SYS_pselect6:
      for (const fd_set& set : read_memory<fd_set>(process, second, 1)) {
        for (unsigned fd = 0; fd < std::min(first, kMostFds); ++fd) {
          if (FD_ISSET(fd, &set)) fds.push_back(fd);
        }
      }
      break;
    default:
      break;
  }
  return fds;
}

bool waits_for_terminal(pid_t process) {
  const auto fds = waited_for(process);
  const std::string folder = "/proc/" + std::to_string(process) + "/fd/";
  return std::any_of(fds.begin(), fds.end(),
                     [&](unsigned fd) { return is_terminal(folder + std::to_string(fd)); });
}

}  // namespace

bool reads_terminal(pid_t process) {
  std::vector<pid_t> found = {process};
  for (std::size_t i = 0; i < found.size() && i < kMostProcesses; ++i) {
    if (waits_for_terminal(found[i])) return true;
    const std::string number = std::to_string(found[i]);
    std::ifstream children("/proc/" + number + "/task/" + number + "/children");
    for (pid_t child = 0; children >> child;) found.push_back(child);
  }
  return false;
}

}  // namespace box
