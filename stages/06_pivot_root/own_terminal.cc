#include "stages/06_pivot_root/own_terminal.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <tuple>
#include <utility>

#include "common/check.h"
#include "stages/01_exec/job_control.h"
#include "stages/04_namespaces/namespaces.h"
#include "stages/06_pivot_root/terminal_readers.h"

namespace box {
namespace {

// The caller's terminal must not stay in the container, so only what is certainly something else is
// not one.
bool may_be_terminal(int fd) {
  return isatty(fd) == 1 || (errno != ENOTTY && errno != EINVAL && errno != EBADF);
}

// The master does not report when a process reads at the other end, and no one reports when our
// shell moves us between background and foreground, so we check regularly.
constexpr int kLookEach = 100;  // milliseconds

bool is_readable(int fd) {
  pollfd event = {fd, POLLIN, 0};
  return poll(&event, 1, 0) == 1;
}

}  // namespace

Child start_session_in(std::uint64_t namespaces, const IdOptions& ids,
                       const std::function<void()>& body) {
  return {"clone3(" + names_of(namespaces) + ")", [&] { return clone_for(ids, namespaces); }, body,
          Child::Leads::kSession};
}

Pty open_pty(const UniqueFd& devpts) {
  // By the descriptor of the mount, not by a path of the container's; and the slave by its master,
  // see ioctl_tty(2).
  UniqueFd master(
      check(openat(devpts.get(), "ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), "open(/dev/pts/ptmx)"));
  const int locked = 0;
  check_quietly(ioctl(master.get(), TIOCSPTLCK, &locked), "ioctl(TIOCSPTLCK)");
  UniqueFd slave(check(ioctl(master.get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC),
                       "ioctl(/dev/pts/ptmx, TIOCGPTPEER)"));
  return {std::move(master), std::move(slave)};
}

OwnTerminal::OwnTerminal()
    : relay_(outer_.input(), outer_.output()),
      needs_keys_(outer_.is_for_both()),
      first_modes_(outer_.modes_for_command()) {
  if (!outer_.is_there()) return;
  std::tie(parent_end_, child_end_) = FdChannel::make();
}

OwnTerminal::~OwnTerminal() {
  // If the child has failed, its output of --verbose must still be read.
  receive();
  (void)relay_.drain(outer_.ends_lines());
}

UniqueFd OwnTerminal::open_in(const UniqueFd& devpts) {
  if (!outer_.is_there()) return UniqueFd();
  parent_end_.close();
  outer_.close();
  Pty pty = open_pty(devpts);
  const UniqueFd master = std::move(pty.master);
  slave_ = std::move(pty.slave);
  check_quietly(tcsetattr(slave_.get(), TCSANOW, &first_modes_), "tcsetattr(the new terminal)");
  check(ioctl(slave_.get(), TIOCSCTTY, 0), "ioctl(the new terminal, TIOCSCTTY)");
  child_end_.send("master", master.get());
  child_end_.send("slave", slave_.get());
  child_end_.close();
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (may_be_terminal(fd))
      check_quietly(dup2(slave_.get(), fd), "dup2(the new terminal, {})", fd);
  }
  return UniqueFd(
      check(open_tree(slave_.get(), "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH),
            "open_tree(the new terminal, CLONE)"));
}

const IdOptions& OwnTerminal::give_to(const IdOptions& ids) const {
  if (slave_.get() != -1 && ids.user_given) {
    check(fchown(slave_.get(), ids.user, static_cast<gid_t>(-1)), "fchown(the new terminal, {})",
          ids.user);
  }
  return ids;
}

void OwnTerminal::start(pid_t child) {
  child_ = child;
  child_end_.close();  // otherwise we would keep our own pipe from reaching end-of-file
}

int OwnTerminal::add_to(std::vector<pollfd>& events) {
  if (parent_end_.get() != -1) events.push_back({parent_end_.get(), POLLIN, 0});
  const bool keys = outer_.keys_are_taken() && outer_.is_in_foreground();
  relay_.add_to(events, keys);
  return relay_.is_connected() && !keys ? kLookEach : -1;
}

int OwnTerminal::serve() {
  receive();
  if (!relay_.is_connected()) return 0;
  take_keys_if_due();
  relay_.copy(outer_.keys_are_taken() && outer_.is_in_foreground(), outer_.ends_lines());
  if (relay_.has_lost_caller()) {
    relay_.hang_up();
    slave_.close();
    return SIGHUP;
  }
  const int signal = signal_typed();
  if (signal != SIGTSTP) return signal;
  if (!takes_signal(child_, SIGTSTP)) stop_with_child(SIGTSTP, true);
  return 0;
}

bool OwnTerminal::has_finished() {
  outer_.give_back();
  return relay_.drain(outer_.ends_lines());
}

void OwnTerminal::receive() {
  if (has_failed_ || parent_end_.get() == -1 || !is_readable(parent_end_.get())) return;
  // If we fail, both ends stay open: otherwise the child would fail, too, and that would be told.
  has_failed_ = true;
  FdChannel::Message master;
  FdChannel::Message slave;
  if (parent_end_.receive(master)) {
    relay_.connect(std::move(master.fd));
    if (parent_end_.receive(slave)) {
      slave_ = std::move(slave.fd);
      (void)pass_on(SIGWINCH);
    } else {
      relay_.hang_up();
    }
  }
  has_failed_ = false;
  parent_end_.close();
}

void OwnTerminal::take_keys() {
  if (!outer_.take_keys() || std::exchange(had_keys_, true)) return;
  // If we started in the background, the modes are only now those that our shell gives to commands.
  // If not, there is nothing to change, and what the command changes meanwhile must stay.
  termios modes = {};
  if (are_same(first_modes_, outer_.modes()) || tcgetattr(relay_.master(), &modes) == -1 ||
      !are_same(modes, first_modes_)) {
    return;
  }
  first_modes_ = outer_.modes();
  (void)tcsetattr(relay_.master(), TCSANOW, &first_modes_);
}

void OwnTerminal::take_keys_if_due() {
  if (outer_.keys_are_taken()) return;
  const bool foreground = outer_.is_in_foreground();
  if (foreground && needs_keys_) return take_keys();
  if (!is_time_to_look() || !is_wanted()) return;
  needs_keys_ = true;
  if (foreground) return take_keys();
  // As the terminal would do it to the command, if it were the command's.
  stop_with_child(SIGTTIN, true);
}

bool OwnTerminal::is_time_to_look() {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_look_ < std::chrono::milliseconds(kLookEach)) return false;
  last_look_ = now;
  return true;
}

bool OwnTerminal::is_wanted() const {
  termios modes = {};
  constexpr tcflag_t kOfLines = ICANON | ECHO;  // an editor, a password
  if (tcgetattr(relay_.master(), &modes) == 0 &&
      (modes.c_lflag & kOfLines) != (first_modes_.c_lflag & kOfLines)) {
    return true;
  }
  return reads_terminal(child_);
}

// What the container's terminal does to a group is not visible from outside, so we check what was
// typed. Returns SIGINT, SIGQUIT or SIGTSTP if a key sent that to the command's own group, and not
// to a job of a shell inside; otherwise 0.
int OwnTerminal::signal_typed() const {
  termios modes = {};
  if (relay_.typed().empty() || tcgetattr(relay_.master(), &modes) == -1 ||
      (modes.c_lflag & ISIG) == 0 || tcgetpgrp(relay_.master()) != child_) {
    return 0;
  }
  constexpr std::pair<int, int> kKeys[] = {{VINTR, SIGINT}, {VQUIT, SIGQUIT}, {VSUSP, SIGTSTP}};
  for (const auto& [key, signal] : kKeys) {
    const auto byte = static_cast<char>(modes.c_cc[key]);
    if (byte != _POSIX_VDISABLE && relay_.typed().find(byte) != std::string_view::npos) {
      return signal;
    }
  }
  return 0;
}

void OwnTerminal::child_has_stopped(int /*signal*/) {
  if (outer_.is_there()) stop_with_child(SIGTSTP, true);
}

void OwnTerminal::stop() { stop_with_child(SIGTSTP, false); }

void OwnTerminal::stop_with_child(int signal, bool our_group) {
  // By SIGSTOP, from outside: the signals of its own terminal have no effect on PID 1, nor on a
  // group that no shell in its session looks after, see "orphaned" in setpgid(2).
  (void)kill(-child_, SIGSTOP);
  outer_.give_back();
  if (!stop_ourselves(signal, our_group) && signal != SIGTSTP) {
    // In the background for good: no shell will ever bring it to the foreground.
    (void)kill(child_, SIGKILL);
    return;
  }
  go_on();
}

void OwnTerminal::go_on() {
  (void)kill(-child_, SIGCONT);
  if (!relay_.is_connected()) return;
  if (needs_keys_) take_keys();
  (void)pass_on(SIGWINCH);
  // Our caller's shell has written on the screen in the meantime, so an editor has to redraw it.
  const pid_t group = tcgetpgrp(relay_.master());
  if (group > 0) (void)kill(-group, SIGWINCH);
}

bool OwnTerminal::pass_on(int signal) {
  if (!relay_.is_connected()) return false;
  if (signal == SIGWINCH) {
    const winsize size = outer_.size();
    return ioctl(relay_.master(), TIOCSWINSZ, &size) == 0;
  }
  // From the kernel, not from us: a process can tell the two apart, and --init does.
  return (signal == SIGINT || signal == SIGQUIT) && ioctl(relay_.master(), TIOCSIG, signal) == 0;
}

int OwnTerminal::last_descriptor() const { return outer_.input(); }

void OwnTerminal::tidy_up_after_us() { outer_.give_back_after_us(); }

}  // namespace box
