#include "harness/faults/inject/tracer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "common/check.h"
#include "common/unique_fd.h"
#include "harness/faults/inject/call_text.h"
#include "harness/faults/inject/registers.h"

namespace box {
namespace {

// EXITKILL: should we be killed, nobody goes on with a fault that nobody looks at.
constexpr long kOptions = PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE |
                          PTRACE_O_TRACEEXEC | PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL;
constexpr int kCallStop = SIGTRAP | 0x80;  // with TRACESYSGOOD
constexpr int kCannotStart = 125;

void on_alarm(int /*signal*/) {}  // it interrupts waitpid(2)

// Without SA_RESTART, which signal(2) would set.
void interrupt_waits_by_alarm() {
  struct sigaction action = {};
  action.sa_handler = on_alarm;
  check_quietly(sigaction(SIGALRM, &action, nullptr), "sigaction(SIGALRM)");
}

void become(const User& user) {
  check_quietly(setgroups(user.groups.size(), user.groups.data()), "setgroups()");
  check_quietly(setresgid(user.gid, user.gid, user.gid), "setresgid({})", user.gid);
  check_quietly(setresuid(user.uid, user.uid, user.uid), "setresuid({})", user.uid);
}

// In the child: waits until it is traced, then becomes the program.
[[noreturn]] void wait_and_execute(int gate, const std::vector<std::string>& words,
                                   const std::optional<User>& user) {
  try {
    char byte = 0;
    if (read(gate, &byte, 1) != 1) _exit(kCannotStart);
    if (user) become(*user);
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    check_quietly(execv(argv[0], argv.data()), "execv({})", words[0]);
  } catch (const Failure& failure) {
    warn(failure.what(), "");
  }
  _exit(kCannotStart);
}

bool is_group_stop(int signal) {
  return signal == SIGSTOP || signal == SIGTSTP || signal == SIGTTIN || signal == SIGTTOU;
}

}  // namespace

Tracer::Tracer(std::optional<Fault> fault, std::FILE* log) : fault_(std::move(fault)), log_(log) {
  if (fault_) (void)call_number(fault_->at.call);  // a misspelt call would never come
}

int Tracer::run(const std::vector<std::string>& argv, const std::optional<User>& user,
                unsigned patience) {
  interrupt_waits_by_alarm();
  start(argv, user);
  std::optional<int> result;
  while (true) {
    int status = 0;
    const pid_t pid = waitpid(-1, &status, __WALL);
    if (pid == -1 && errno == EINTR) {
      if (result) let_all_go();
      continue;
    }
    if (pid == -1) break;  // ECHILD: none is left
    if (WIFSTOPPED(status)) {
      handle_stop(pid, status);
      continue;
    }
    fmt::print(log_, "end\t{}\t{}\t{}\n", pid == program_ ? "0" : processes_[pid].name,
               WIFEXITED(status) ? "exit" : "signal",
               WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
    processes_.erase(pid);
    if (pid == program_) {
      result = status;
      alarm(patience);
    }
  }
  if (!result) throw Failure("the program's end was not seen");
  return *result;
}

void Tracer::start(const std::vector<std::string>& argv, const std::optional<User>& user) {
  int ends[2];
  check_quietly(pipe2(ends, O_CLOEXEC), "pipe2()");
  const UniqueFd read_end(ends[0]);
  program_ = check_quietly(fork(), "fork()");
  if (program_ == 0) {
    (void)close(ends[1]);
    wait_and_execute(ends[0], argv, user);
  }
  gate_ = ends[1];
  // SEIZE, unlike ATTACH, sends no SIGSTOP, which the program could notice.
  check_quietly(ptrace(PTRACE_SEIZE, program_, 0, kOptions), "ptrace(PTRACE_SEIZE)");
  check_quietly(ptrace(PTRACE_INTERRUPT, program_, 0, 0), "ptrace(PTRACE_INTERRUPT)");
  processes_[program_];
}

void Tracer::handle_stop(pid_t pid, int status) {
  const int signal = WSTOPSIG(status);
  const int event = status >> 16;
  switch (event) {
    case PTRACE_EVENT_FORK:
    case PTRACE_EVENT_VFORK:
    case PTRACE_EVENT_CLONE:
      handle_new_child(pid);
      return go_on(pid);
    case PTRACE_EVENT_EXEC:
      return handle_exec(pid);
    case PTRACE_EVENT_STOP:
      if (pid == program_ && gate_ != -1) {
        (void)!write(gate_, "", 1);
        (void)close(std::exchange(gate_, -1));
      } else if (processes_[pid].name.empty() && pid != program_ && !letting_go_) {
        processes_[pid].waits_for_name = true;
        return;
      } else if (is_group_stop(signal) && !letting_go_) {
        (void)ptrace(PTRACE_LISTEN, pid, 0, 0);
        return;
      }
      return go_on(pid);
    default:
      if (signal != kCallStop) return go_on(pid, signal);
      handle_call(pid);
  }
}

// The child's own stop may come before this event of its parent's, or after it.
void Tracer::handle_new_child(pid_t parent) {
  unsigned long child = 0;
  if (ptrace(PTRACE_GETEVENTMSG, parent, 0, &child) == -1) return;
  Process& of = processes_[parent];
  Process& born = processes_[static_cast<pid_t>(child)];
  born.name = fmt::format("{}.{}", of.name, of.children++);
  if (std::exchange(born.waits_for_name, false)) go_on(static_cast<pid_t>(child));
}

void Tracer::handle_exec(pid_t pid) {
  Process& process = processes_[pid];
  if (pid == program_) {  // and once more, where a program executes itself again, as crun does
    process.name = "0";
    process.in_call = true;  // execve(2) has yet to return
    return go_on(pid);
  }
  if (process.in_call) say("call", process, "0");
  fmt::print(log_, "exec\t{}\n", process.name);
  (void)ptrace(PTRACE_DETACH, pid, 0, 0);
  processes_.erase(pid);
}

void Tracer::handle_call(pid_t pid) {
  Process& process = processes_[pid];
  __ptrace_syscall_info info = {};
  if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof info, &info) == -1) return go_on(pid);
  if (info.op == PTRACE_SYSCALL_INFO_ENTRY && !process.name.empty()) {
    process.in_call = true;
    process.call = call_name(info.entry.nr);
    process.text = call_text(pid, process.call, info.entry.args);
    process.nth = ++process.counts[info.entry.nr];
    if (is_at(process)) {
      bring_about(pid, process);
    } else if (process.call == "exit_group") {
      say("call", process, "?");
    }
  } else if (info.op == PTRACE_SYSCALL_INFO_EXIT && process.in_call) {
    process.in_call = false;
    leave_call(pid, process, info.exit.rval);
  }
  go_on(pid);
}

bool Tracer::is_at(const Process& process) const {
  return fault_ && !letting_go_ && fault_->at.process == process.name &&
         fault_->at.call == process.call && fault_->at.nth == process.nth;
}

void Tracer::bring_about(pid_t pid, Process& process) {
  if (fault_->kind == Fault::Kind::kKill) {
    say(kill_victim() ? "fault" : "missed", process, "SIGKILL");
    return let_all_go();
  }
  process.fault_is_here = true;
  if (process.call == "brk") {
    // It knows no errors: where there is no memory, it returns the old end, as for a wish of 0.
    exchange(pid, process, Argument::kFirst, 0);
  } else if (fault_->result > 0) {  // bytes: a read or write is asked for fewer
    exchange(pid, process, Argument::kThird, static_cast<unsigned long>(fault_->result));
  } else if (process.call != "close") {  // which has closed the file even if it fails, see close(2)
    skip_call(pid);
  }
}

void Tracer::exchange(pid_t pid, Process& process, Argument argument, unsigned long value) {
  process.argument = {argument, exchange_argument(pid, argument, value)};
}

void Tracer::leave_call(pid_t pid, Process& process, long result) {
  if (process.call.empty()) return;  // the execve(2) with which it all began
  if (!std::exchange(process.fault_is_here, false)) {
    return say("call", process, std::to_string(result));
  }
  if (process.argument) {
    (void)exchange_argument(pid, process.argument->first, process.argument->second);
    set_result(pid, result);  // on arm64 it is where the first argument was
  } else {
    set_result(pid, fault_->result);
  }
  say("fault", process, std::to_string(fault_->result));
  let_all_go();
}

bool Tracer::kill_victim() {
  for (const auto& [pid, process] : processes_) {
    if (process.name == fault_->victim) return kill(pid, SIGKILL) == 0;
  }
  return false;  // it has ended, or become another program
}

// Only a stopped process can be let go: the others are asked to stop, see handle_stop().
void Tracer::let_all_go() {
  letting_go_ = true;
  std::vector<pid_t> stopped;
  for (const auto& [pid, process] : processes_) {
    if (process.waits_for_name) {
      stopped.push_back(pid);
    } else {
      (void)ptrace(PTRACE_INTERRUPT, pid, 0, 0);
    }
  }
  for (const pid_t pid : stopped) go_on(pid);
}

// ptrace(2) fails if the process has been killed in the meantime: then waitpid(2) reports that.
void Tracer::go_on(pid_t pid, int signal) {
  (void)ptrace(letting_go_ ? PTRACE_DETACH : PTRACE_SYSCALL, pid, 0, signal);
  if (letting_go_) processes_.erase(pid);
}

void Tracer::say(const char* what, const Process& process, const std::string& result) {
  fmt::print(log_, "{}\t{}\t{}\t{}\t{}\t{}\n", what, process.name, process.call, process.nth,
             result, process.text);
}

}  // namespace box
