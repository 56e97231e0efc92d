#include "harness/agent/supervisor.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <thread>
#include <utility>

#include "common/capability_sets.h"
#include "common/check.h"
#include "common/error_pipe.h"
#include "common/fd_channel.h"
#include "common/write_file.h"

namespace box {
namespace {

constexpr int kFirstOwnFd = 64;  // lower numbers are those that requests may ask for

struct Streams {
  UniqueFd input;
  UniqueFd output;
  UniqueFd errors;

  void close() {
    input.close();
    output.close();
    errors.close();
  }
};

void pipe_between(UniqueFd& read_end, UniqueFd& write_end) {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  read_end = UniqueFd(ends[0]);
  write_end = UniqueFd(ends[1]);
}

void make_nonblocking(const UniqueFd& fd) {
  check_quietly(fcntl(fd.get(), F_SETFL, fcntl(fd.get(), F_GETFL) | O_NONBLOCK), "fcntl()");
}

UniqueFd copy_of(const UniqueFd& fd) {
  return UniqueFd(check_quietly(fcntl(fd.get(), F_DUPFD_CLOEXEC, kFirstOwnFd), "dup()"));
}

Streams open_streams(const StartRequest& request, Run& run) {
  Streams child;
  if (request.terminal) {
    winsize size = {request.rows, request.columns, 0, 0};
    int master = -1;
    int slave = -1;
    check_quietly(openpty(&master, &slave, nullptr, nullptr, &size), "openpty()");
    run.output_fd = UniqueFd(master);
    child.input = UniqueFd(slave);
    check_quietly(fcntl(master, F_SETFD, FD_CLOEXEC), "fcntl()");
    check_quietly(fcntl(slave, F_SETFD, FD_CLOEXEC), "fcntl()");
    child.output = copy_of(child.input);
    child.errors = copy_of(child.input);
    run.input_fd = copy_of(run.output_fd);
    run.is_terminal = true;
  } else {
    pipe_between(child.input, run.input_fd);
    pipe_between(run.output_fd, child.output);
    pipe_between(run.errors_fd, child.errors);
    make_nonblocking(run.errors_fd);
  }
  make_nonblocking(run.output_fd);
  make_nonblocking(run.input_fd);
  return child;
}

void place(int from, int to) { check_quietly(dup2(from, to), "dup2({}, {})", from, to); }

void set_signals(const StartRequest& request) {
  // Without glibc's signal(2), which does not change the two signals that it reserves for threads;
  // our caller may ignore these as well. All zeros means SIG_DFL, no flag, and no mask.
  const unsigned long by_default[4] = {};
  for (int signal = 1; signal < NSIG; ++signal) {
    (void)syscall(SYS_rt_sigaction, signal, by_default, nullptr, _NSIG / 8);
  }
  for (const int signal : request.ignored) (void)::signal(signal, SIG_IGN);
  sigset_t blocked;
  sigemptyset(&blocked);
  for (const int signal : request.blocked) sigaddset(&blocked, signal);
  check_quietly(sigprocmask(SIG_SETMASK, &blocked, nullptr), "sigprocmask()");
}

// A filter of root's needs no no_new_privs, which would change what the program may do. So we keep
// CAP_SYS_ADMIN until then; execve(2) takes it from a user other than root.
void keep_right_to_filter() {
  CapabilitySets sets;
  check_quietly(get_capabilities(sets), "capget()");
  sets.effective |= sets.permitted & (1U << CAP_SYS_ADMIN);
  check_quietly(set_capabilities(sets), "capset()");
}

void become(const StartRequest& request) {
  if (!request.uid && !request.gid) return;
  if (!request.refusals.empty()) {
    check_quietly(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "prctl(PR_SET_KEEPCAPS)");
  }
  check_quietly(setgroups(request.groups.size(), request.groups.data()), "setgroups()");
  if (request.gid)
    check_quietly(setresgid(*request.gid, *request.gid, *request.gid), "setresgid()");
  if (request.uid)
    check_quietly(setresuid(*request.uid, *request.uid, *request.uid), "setresuid()");
}

// In the child: everything that the request asks for, up to the exec.
void become_the_program(const StartRequest& request, const Streams& streams,
                        const FdChannel& channel) {
  if (request.own_session || request.terminal) {
    check_quietly(setsid(), "setsid()");
  } else if (request.own_group) {
    check_quietly(setpgid(0, 0), "setpgid()");
  }
  if (request.terminal) {
    check_quietly(ioctl(streams.input.get(), TIOCSCTTY, 0), "ioctl(TIOCSCTTY)");
  }
  place(streams.input.get(), STDIN_FILENO);
  place(streams.output.get(), STDOUT_FILENO);
  place(streams.errors.get(), STDERR_FILENO);
  for (const InheritedFile& file : request.files) {
    const UniqueFd fd(check_quietly(
        open(file.path.c_str(), (file.writable ? O_WRONLY : O_RDONLY) | O_CLOEXEC | O_NOCTTY),
        "open({})", file.path));
    place(fd.get(), file.fd);
  }
  for (const int fd : request.closed) (void)close(fd);
  for (const Limit& limit : request.limits) {
    check_quietly(setrlimit(static_cast<__rlimit_resource>(limit.resource), &limit.value),
                  "setrlimit({})", limit.resource);
  }
  if (request.umask) umask(*request.umask);
  set_signals(request);
  if (!request.cgroup.empty()) write_file(request.cgroup + "/cgroup.procs", "0");
  become(request);
  if (!request.directory.empty()) {
    check_quietly(chdir(request.directory.c_str()), "chdir({})", request.directory);
  }
  if (!request.refusals.empty()) {  // last: our own calls are not the program's
    keep_right_to_filter();
    if (request.nth) {
      channel.send("listener", ask_before(request.refusals).get());
    } else {
      refuse(request.refusals);
    }
  }
  std::vector<char*> argv;
  std::vector<char*> envp;
  for (const auto& word : request.argv) argv.push_back(const_cast<char*>(word.c_str()));
  for (const auto& word : request.environment) envp.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  const std::string program = request.program.empty() ? request.argv[0] : request.program;
  check_quietly(execve(program.c_str(), argv.data(), envp.data()), "execve({})", program);
}

void read_into(UniqueFd& fd, std::string& text, std::size_t limit) {
  char part[64 * 1024];
  // At most this often, so that a program that writes without end does not keep us here.
  for (int i = 0; i < 16 && fd.get() != -1; ++i) {
    const auto size = read(fd.get(), part, sizeof part);
    if (size > 0) {
      // One byte beyond the limit is kept, so that we know that there was more.
      const auto room = limit + 1 - std::min(limit + 1, text.size());
      text.append(part, std::min(room, static_cast<std::size_t>(size)));
    } else if (size == -1 && (errno == EAGAIN || errno == EINTR)) {
      return;
    } else {
      fd.close();  // end-of-file; a terminal returns EIO, see pty(7)
    }
  }
}

}  // namespace

Supervisor::Supervisor() {
  // Reserves the numbers that requests may ask for, so that no descriptor of ours has one.
  while (true) {
    const int fd = check_quietly(open("/dev/null", O_RDWR | O_CLOEXEC), "open(/dev/null)");
    if (fd < kFirstOwnFd) continue;
    (void)close(fd);
    break;
  }
  check_quietly(prctl(PR_SET_CHILD_SUBREAPER, 1), "prctl(PR_SET_CHILD_SUBREAPER)");
  (void)signal(SIGPIPE, SIG_IGN);
  sigset_t child;
  sigemptyset(&child);
  sigaddset(&child, SIGCHLD);
  check_quietly(sigprocmask(SIG_BLOCK, &child, nullptr), "sigprocmask()");
  signals_ =
      UniqueFd(check_quietly(signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK), "signalfd()"));
}

Supervisor::~Supervisor() { (void)finish_all(); }

Run& Supervisor::start(const StartRequest& request) {
  if (request.argv.empty()) throw Failure("argv is empty");
  for (const InheritedFile& file : request.files) {
    if (file.fd < 0 || file.fd >= kFirstOwnFd) throw Failure("a descriptor is 0 to 63");
  }
  auto run = std::make_unique<Run>();
  Streams streams = open_streams(request, *run);
  ErrorPipe errors;
  auto [ours, childs] = FdChannel::make();
  run->started = Clock::now();
  run->pid = check_quietly(fork(), "fork()");
  if (run->pid == 0) {
    errors.run_child([&, &channel = childs] { become_the_program(request, streams, channel); });
  }
  run->born = process_of(run->pid).started;
  childs.close();
  errors.close_child_end();
  streams.close();
  try {
    (void)errors.state_of_child(-1);
  } catch (const Failure&) {
    (void)TEMP_FAILURE_RETRY(waitpid(run->pid, nullptr, 0));
    throw;
  }
  FdChannel::Message listener;
  if (request.nth && ours.receive(listener)) {
    run->nth_call.emplace(std::move(listener.fd), request.nth_of, *request.nth);
  }
  run->number = next_number_++;
  run->output_limit = request.output_limit;
  run->deadline = run->started + request.time_limit;
  Run& started = *runs_.emplace(run->number, std::move(run)).first->second;
  write_input(started, request.input, request.close_input);
  return started;
}

Run& Supervisor::run(int number) {
  const auto found = runs_.find(number);
  if (found == runs_.end()) throw Failure("there is no run " + std::to_string(number));
  return *found->second;
}

void Supervisor::write_input(Run& run, const std::string& text, bool close) {
  run.input += text;
  run.close_input = close;
  write_pending_input(run);
}

void Supervisor::write_pending_input(Run& run) {
  while (!run.input.empty() && run.input_fd.get() != -1) {
    const auto size = write(run.input_fd.get(), run.input.data(), run.input.size());
    if (size == -1 && (errno == EAGAIN || errno == EINTR)) return;
    if (size == -1) {  // no process will read it
      run.input.clear();
      run.input_fd.close();
    } else {
      run.input.erase(0, static_cast<std::size_t>(size));
    }
  }
  if (run.close_input && !run.is_terminal) run.input_fd.close();
}

std::vector<Process> Supervisor::processes_of_runs() const {
  return descendants_of(getpid(), all_processes());
}

void Supervisor::reap() {
  int status = 0;
  pid_t pid = 0;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    for (auto& [number, run] : runs_) {
      if (run->pid != pid || run->is_over()) continue;
      run->wait_status = status;
      run->ended = Clock::now();
      if (run->why == "running") run->why = "ended";
      read_outputs(*run);  // what it wrote before its end is in the pipe
    }
  }
}

void Supervisor::read_outputs(Run& run) {
  read_into(run.output_fd, run.output, run.output_limit);
  read_into(run.errors_fd, run.errors, run.output_limit);
}

// New processes may appear while we look, so we repeat this, and kill a whole group at a time.
std::vector<Process> Supervisor::kill_until_gone(Run* run) {
  const auto give_up = Clock::now() + std::chrono::seconds(2);
  for (int round = 0;; ++round) {
    reap();
    const auto everybody = all_processes();
    auto targets =
        run == nullptr ? descendants_of(getpid(), everybody) : descendants_of(run->pid, everybody);
    for (const Process& process : everybody) {
      if (process.parent != getpid()) continue;
      bool other = false;
      for (const auto& [number, known] : runs_) other |= known->pid == process.pid;
      if (other && (run == nullptr || run->pid != process.pid)) continue;
      // An orphan that is older belongs to another run: a daemon, such as conmon.
      if (run != nullptr && process.started < run->born) continue;
      targets.push_back(process);  // the run itself, or an orphan, with all its descendants
      for (const auto& heir : descendants_of(process.pid, everybody)) targets.push_back(heir);
    }
    if (targets.empty()) return {};
    if (Clock::now() > give_up) return targets;
    // As PID 1 of our host we can kill all processes at once, although that also kills other runs.
    if (getpid() == 1 && (run == nullptr || round > 100)) (void)kill(-1, SIGKILL);
    for (const Process& process : targets) {
      (void)kill(process.pid, SIGKILL);
      const bool own = process.group == getpgrp() || process.group <= 1;
      if (!own && getpgid(process.pid) == process.group) (void)kill(-process.group, SIGKILL);
    }
    reap();
    if (round > 2) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

std::vector<Process> Supervisor::finish(Run& run, const std::string& why) {
  if (!run.is_over()) run.why = why;
  auto left = kill_until_gone(&run);
  read_outputs(run);
  return left;
}

std::vector<Process> Supervisor::finish_all() {
  for (auto& [number, run] : runs_) {
    if (!run->is_over()) run->why = "killed";
  }
  return kill_until_gone(nullptr);
}

void Supervisor::add_events(std::vector<pollfd>& events) const {
  events.push_back({signals_.get(), POLLIN, 0});
  for (const auto& [number, run] : runs_) {
    if (run->output_fd.get() != -1) events.push_back({run->output_fd.get(), POLLIN, 0});
    if (run->errors_fd.get() != -1) events.push_back({run->errors_fd.get(), POLLIN, 0});
    if (!run->input.empty()) events.push_back({run->input_fd.get(), POLLOUT, 0});
    if (run->nth_call && run->nth_call->get() != -1) {
      events.push_back({run->nth_call->get(), POLLIN, 0});
    }
  }
}

void Supervisor::handle(const std::vector<pollfd>& /*events*/) {
  signalfd_siginfo info;
  while (read(signals_.get(), &info, sizeof info) > 0) {
  }
  reap();
  for (auto& [number, run] : runs_) {
    read_outputs(*run);
    write_pending_input(*run);
    if (run->nth_call) run->nth_call->decide();
  }
}

std::optional<Clock::time_point> Supervisor::next_deadline() const {
  std::optional<Clock::time_point> next;
  for (const auto& [number, run] : runs_) {
    if (!run->is_over() && (!next || run->deadline < *next)) next = run->deadline;
  }
  return next;
}

void Supervisor::enforce_limits() {
  for (auto& [number, run] : runs_) {
    if (run->is_over()) continue;
    const bool too_much = std::max(run->output.size(), run->errors.size()) > run->output_limit;
    if (too_much) (void)finish(*run, "output limit");
    if (Clock::now() >= run->deadline) (void)finish(*run, "time limit");
  }
}

}  // namespace box
