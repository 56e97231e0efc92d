// Stage 09: what only a security module denies, where all else allows it.

#include "harness/probe/probe.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

// open_socket=DOMAIN,TYPE
void do_open_socket(const Verb& verb, Answer& answer) {
  answer.add_result(socket(static_cast<int>(verb.number(0)), static_cast<int>(verb.number(1)), 0) !=
                    -1);
}

// As a debugger attaches to a process of the same user.
void do_trace_child(const Verb&, Answer& answer) {
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  answer.add_result(child != -1 && ptrace(PTRACE_SEIZE, child, nullptr, nullptr) == 0);
  (void)kill(child, SIGKILL);
  (void)waitpid(child, nullptr, 0);
}

// write_text=PATH,TEXT: into a file that is there.
void do_write_text(const Verb& verb, Answer& answer) {
  const int fd = open(verb.argument(0), O_WRONLY | O_NOCTTY);
  answer.add_result(fd != -1 && write(fd, verb.argument(1), strlen(verb.argument(1))) != -1);
}

constexpr KnownVerb kVerbs[] = {
    {"open_socket", do_open_socket},
    {"trace_child", do_trace_child},
    {"write_text", do_write_text},
};

}  // namespace

std::span<const KnownVerb> lsm_verbs() { return kVerbs; }
