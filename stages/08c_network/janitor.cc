#include "stages/08c_network/janitor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <exception>
#include <functional>
#include <utility>

#include "common/check.h"

namespace box {
namespace {

constexpr std::size_t kLongestNote = 256;
constexpr char kStopped = 's';   // the janitor sends this after its stop()
constexpr int kPatience = 2000;  // milliseconds
constexpr const char* kNextStart = "the next container's start tries again";

// Closes all descriptors but 0, 1, 2 and `kept`.
void close_all_but(std::vector<int> kept) {
  std::sort(kept.begin(), kept.end());
  unsigned first = STDERR_FILENO + 1;
  for (const int fd : kept) {
    if (fd < static_cast<int>(first)) continue;
    if (fd > static_cast<int>(first)) {
      (void)close_range(first, static_cast<unsigned>(fd) - 1, 0);  // since Linux 5.9, as clone3()
    }
    first = static_cast<unsigned>(fd) + 1;
  }
  (void)close_range(first, ~0U, 0);
}

// A program that reads our caller's output waits for its end, and must not wait for the janitor.
// Complaints still go to stderr. If there is no /dev/null, both stay closed.
void let_go_of_input_and_output() {
  (void)close(STDIN_FILENO);
  (void)close(STDOUT_FILENO);
  (void)open("/dev/null", O_RDONLY);
  (void)open("/dev/null", O_WRONLY);
}

// A failure must not stop the clean-up: the other steps are still taken.
void attempt(const std::function<void()>& step) {
  try {
    step();
  } catch (const Failure& failure) {
    warn(failure.what(), failure.hint().empty() ? kNextStart : failure.hint());
  } catch (const std::exception& e) {
    warn(e.what(), kNextStart);
  }
}

}  // namespace

void Janitor::Work::serve(int parent, const std::string& /*note*/) {
  pollfd event = {parent, POLLIN, 0};
  (void)TEMP_FAILURE_RETRY(poll(&event, 1, -1));
}

Janitor::Janitor(std::shared_ptr<Work> work) : work_(std::move(work)) {
  int ends[2];
  check_quietly(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), "socketpair()");
  socket_ = UniqueFd(ends[0]);
  const UniqueFd parent(ends[1]);
  pid_ = check_quietly(fork(), "fork()");
  if (pid_ != 0) return;

  trace_as("janitor");
  (void)
      setsid();  // out of reach of the terminal's signals; a new process does not lead a group yet
  run(parent.get());
}

void Janitor::run(int parent) {
  // Most of all our parent's end of the socket, or we would never see end-of-file; and published
  // ports, locks and pipes, which have to be released when our parent ends.
  std::vector<int> needed = work_->descriptors();
  needed.push_back(parent);
  close_all_but(needed);
  let_go_of_input_and_output();
  (void)!chdir("/");  // the caller's directory may be on a disk that someone wants to unmount

  std::string note;
  attempt([&] {
    ssize_t size = 0;
    do {
      work_->serve(parent, note);
      char text[kLongestNote];
      size = TEMP_FAILURE_RETRY(recv(parent, text, sizeof text, 0));
      // Without us the container would lose its network, so we do not give up at once.
      if (size == -1) size = recv(parent, text, sizeof text, 0);
      check_quietly(size, "recv()");
      if (size > 0) note.assign(text, static_cast<std::size_t>(size));
    } while (size > 0);
  });
  attempt([&] { work_->stop(); });
  close_all_but({parent});
  (void)send(parent, &kStopped, sizeof kStopped, MSG_NOSIGNAL);
  (void)close(parent);
  attempt([&] { work_->clean_up(note); });
  _exit(0);
}

Janitor::~Janitor() {
  (void)shutdown(socket_.get(), SHUT_WR);
  // If the janitor was stopped by a signal, it sends nothing, so we do not wait without a limit. If
  // it was killed, the kernel has closed its end.
  pollfd event = {socket_.get(), POLLIN, 0};
  if (TEMP_FAILURE_RETRY(poll(&event, 1, kPatience)) != 1) return;
  char said = 0;
  if (recv(socket_.get(), &said, sizeof said, MSG_DONTWAIT) == 1) return;
  int status = 0;
  if (TEMP_FAILURE_RETRY(waitpid(pid_, &status, 0)) != pid_ || !WIFSIGNALED(status)) return;
  warn(fmt::format("the janitor was killed by SIG{}; the parent cleans up in its place",
                   sigabbrev_np(WTERMSIG(status))),
       "");
  attempt([&] { work_->clean_up(last_note_); });
}

void Janitor::note(const std::string& text) {
  last_note_ = text;
  if (send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) == -1) {
    throw Failure(errno, "the janitor ended: send()");
  }
}

}  // namespace box
