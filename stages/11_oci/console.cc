#include "stages/11_oci/console.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <tuple>

#include "common/check.h"
#include "stages/11_oci/unix_socket.h"

namespace box {
namespace {

bool is_null_device(const struct stat& st) {
  return S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3);
}

}  // namespace

Console::Console(const ConfigProcess& process, const std::string& socket, OwnTerminal* foreground)
    : process_(process), foreground_(foreground) {
  if (!process.terminal) {
    if (!socket.empty()) throw Failure("--console-socket: process.terminal is not set");
    return;
  }
  if (!socket.empty()) {
    socket_ = FdChannel(connect_to(socket, "--console-socket"));
    std::tie(parent_end_, child_end_) = FdChannel::make();
  } else if (foreground_ == nullptr || isatty(STDIN_FILENO) == 0) {
    throw Failure(
        "process.terminal is set, and there is neither --console-socket nor a terminal"
        " of ours to copy to");
  }
}

void Console::close_in_child() {
  socket_.close();
  parent_end_.close();
}

UniqueFd Console::open_in(const UniqueFd& devpts) {
  if (!process_.terminal) return UniqueFd();
  if (devpts.get() == -1) throw Failure("process.terminal: no devpts is mounted at /dev/pts");
  if (child_end_.get() == -1) return foreground_->open_in(devpts);
  const Pty pty = open_pty(devpts);
  if (process_.size.ws_row != 0 || process_.size.ws_col != 0) {
    check(ioctl(pty.master.get(), TIOCSWINSZ, &process_.size),
          "ioctl(the new terminal, TIOCSWINSZ)");
  }
  check(ioctl(pty.slave.get(), TIOCSCTTY, 0), "ioctl(the new terminal, TIOCSCTTY)");
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    check_quietly(dup2(pty.slave.get(), fd), "dup2(the new terminal, {})", fd);
  }
  child_end_.send("/dev/pts/ptmx", pty.master.get());
  child_end_.close();
  return UniqueFd(
      check(open_tree(pty.slave.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
            "open_tree(the new terminal, CLONE)"));
}

void Console::give_to_user() const {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    struct stat st = {};
    if (fstat(fd, &st) == -1 || is_null_device(st) || st.st_uid == process_.uid) continue;
    const bool is_ours =
        S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) || (process_.terminal && isatty(fd) == 1);
    // What belongs to a user outside our user namespace stays theirs.
    if (is_ours) (void)!fchown(fd, process_.uid, static_cast<gid_t>(-1));
  }
}

void Console::pass_on() {
  if (parent_end_.get() == -1) return;
  child_end_.close();  // otherwise we would keep our own channel from reaching end-of-file
  FdChannel::Message master;
  if (parent_end_.receive(master)) socket_.send(master.name, master.fd.get());
  parent_end_.close();
  socket_.close();
}

}  // namespace box
