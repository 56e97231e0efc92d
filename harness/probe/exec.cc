// Stage 01: what it was started with; signals and the terminal; verbs that every scene needs.

#include "harness/probe/probe.h"

#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

namespace {

void do_hello(const Verb&, Answer& answer) {
  answer.add("pid", getpid());
  answer.add("uid", getuid());
  answer.add("gid", getgid());
}

void do_arguments(const Verb&, Answer& answer) {
  int count = 0;
  while (words_after != nullptr && words_after[count] != nullptr) ++count;
  answer.add_list("words", words_after, count);
}

// Through a directory descriptor that we have inherited.
void do_read_from(const Verb& verb, Answer& answer) {
  add_text_from(answer, static_cast<int>(verb.number(0)), verb.argument(1));
}

void do_terminal(const Verb&, Answer& answer) {
  winsize size = {};
  answer.add_result(ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0);
  answer.add("rows", size.ws_row);
  answer.add("columns", size.ws_col);
  answer.add("foreground", tcgetpgrp(STDIN_FILENO) == getpgrp());
}

// Reports what it read from stdin up to the end of a line. At end-of-file it waits a moment, so
// that the harness can look at us.
void hold(const Verb& verb) {
  {
    Answer ready(verb);
    ready.add("held", "waiting");
    ready.send();
  }
  char line[256] = {};
  size_t size = 0;
  while (size < sizeof line - 1) {
    const ssize_t got = read(STDIN_FILENO, line + size, 1);
    if (got <= 0) {
      usleep(300 * 1000);
      break;
    }
    if (line[size] == '\n') break;
    ++size;
  }
  line[strcspn(line, "\n")] = '\0';
  Answer answer(verb);
  answer.add("held", "released");
  answer.add("line", line);
  answer.send();
}

void tell_signal(int signal) {
  Verb verb;
  verb.text = "signal";
  Answer answer(verb);
  answer.add("signal", signal);
  answer.send();
}

// trap=SECONDS: reports each signal that comes, until one more line is read or the time is over.
void trap(const Verb& verb) {
  constexpr int kTrapped[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
  struct sigaction action = {};
  action.sa_handler = tell_signal;
  for (const int signal : kTrapped) (void)sigaction(signal, &action, nullptr);
  {
    Answer ready(verb);
    ready.add("trap", "ready");
    ready.send();
  }
  const time_t end = time(nullptr) + verb.number(0);
  while (time(nullptr) < end) {
    pollfd input = {STDIN_FILENO, POLLIN, 0};
    if (poll(&input, 1, 100) <= 0) continue;
    char byte = 0;
    if (read(STDIN_FILENO, &byte, 1) == 1) break;
    usleep(100 * 1000);  // end-of-file: the harness cannot tell us to go on any more
  }
  Answer done(verb);
  done.add("trap", "done");
  done.send();
}

// What a shell or an editor does to its terminal, without undoing it.
void spoil_terminal(const Verb& verb) {
  termios modes = {};
  (void)tcgetattr(STDIN_FILENO, &modes);
  cfmakeraw(&modes);
  const bool good = tcsetattr(STDIN_FILENO, TCSANOW, &modes) == 0;
  Answer answer(verb);
  answer.add_result(good);
  answer.send();
}

void sleep_ms(const Verb& verb) { usleep(static_cast<useconds_t>(verb.number(0)) * 1000); }

void exit_with(const Verb& verb) { exit(static_cast<int>(verb.number(0))); }

void raise_signal(const Verb& verb) {
  // PID 1 cannot kill itself, see pid_namespaces(7): then report that.
  (void)signal(static_cast<int>(verb.number(0)), SIG_DFL);
  (void)raise(static_cast<int>(verb.number(0)));
  Answer answer(verb);
  answer.add("raise", "survived");
  answer.send();
}

void do_personality(const Verb&, Answer& answer) {
  long flags = personality(0xffffffff);  // which changes nothing; but a filter may not know that
  FILE* file = flags == -1 ? fopen("/proc/self/personality", "re") : nullptr;
  if (file != nullptr) (void)!fscanf(file, "%lx", &flags);
  answer.add("personality", flags);
}

// set_personality=FLAGS: for this process, and for what it executes.
void set_personality(const Verb& verb) {
  Answer answer(verb);
  answer.add_result(personality(static_cast<unsigned long>(verb.number(0))) != -1);
  answer.send();
}

// execute: becomes the words behind "--", with all that the verbs before it have set.
void execute(const Verb& verb) {
  execvp(words_after[0], words_after);
  Answer answer(verb);
  answer.add_result(false);
  answer.send();
}

constexpr KnownVerb kVerbs[] = {
    {"hello", do_hello},
    {"arguments", do_arguments},
    {"read_from", do_read_from},
    {"terminal", do_terminal},
    {"personality", do_personality},
    {"set_personality", nullptr, set_personality},
    {"execute", nullptr, execute},
    {"hold", nullptr, hold},
    {"trap", nullptr, trap},
    {"spoil_terminal", nullptr, spoil_terminal},
    {"sleep_ms", nullptr, sleep_ms},
    {"exit", nullptr, exit_with},
    {"raise", nullptr, raise_signal},
};

}  // namespace

std::span<const KnownVerb> exec_verbs() { return kVerbs; }
