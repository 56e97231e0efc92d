// Stage 04: names, processes, queues and mounts; what is left of processes.

#include "harness/probe/probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

namespace {

void do_hostname(const Verb&, Answer& answer) {
  char name[256] = {};
  answer.add_result(gethostname(name, sizeof name - 1) == 0);
  answer.add("name", name);
}

void do_set_hostname(const Verb& verb, Answer& answer) {
  answer.add_result(sethostname(verb.argument(0), strlen(verb.argument(0))) == 0);
}

// The clocks that count from the boot, in seconds.
void do_clocks(const Verb&, Answer& answer) {
  timespec boottime = {};
  timespec monotonic = {};
  answer.add_result(clock_gettime(CLOCK_BOOTTIME, &boottime) == 0 &&
                    clock_gettime(CLOCK_MONOTONIC, &monotonic) == 0);
  answer.add("boottime", boottime.tv_sec);
  answer.add("monotonic", monotonic.tv_sec);
}

// processes=NAME,DIRECTORY: how many have NAME as argv[0]? Counted in /proc, or, without one, in a
// new one that is mounted on DIRECTORY.
void do_processes(const Verb& verb, Answer& answer) {
  const char* folder = "/proc";
  struct statfs fs = {};
  if (statfs(folder, &fs) == -1 || fs.f_type != 0x9fa0) {
    folder = verb.argument(1);
    (void)mkdir(folder, 0755);
    if (mount("proc", folder, "proc", 0, nullptr) == -1) return answer.add_result(false);
  }
  DIR* proc = opendir(folder);
  if (proc == nullptr) return answer.add_result(false);
  long seen = 0;
  long found = 0;
  while (const dirent* entry = readdir(proc)) {
    if (entry->d_name[0] < '1' || entry->d_name[0] > '9') continue;
    char path[512];
    char text[4096] = {};
    snprintf(path, sizeof path, "%s/%s/cmdline", folder, entry->d_name);
    const int fd = open(path, O_RDONLY);
    const ssize_t size = fd == -1 ? 0 : read(fd, text, sizeof text - 1);
    if (fd != -1) close(fd);
    ++seen;
    if (size > 0 && strcmp(text, verb.argument(0)) == 0) ++found;
  }
  answer.add_result(true);
  answer.add("mounted", strcmp(folder, "/proc") == 0 ? "/proc" : "by the probe");
  answer.add("seen", seen);
  answer.add("found", found);
}

void do_kill(const Verb& verb, Answer& answer) {
  answer.add_result(kill(static_cast<pid_t>(verb.number(0)), static_cast<int>(verb.number(1))) ==
                    0);
}

void do_sysv(const Verb& verb, Answer& answer) {
  answer.add_result(msgget(static_cast<key_t>(verb.number(0)), 0) != -1);
}

void do_make_sysv(const Verb& verb, Answer& answer) {
  answer.add_result(msgget(static_cast<key_t>(verb.number(0)), IPC_CREAT | IPC_EXCL | 0600) != -1);
}

void do_remove_sysv(const Verb& verb, Answer& answer) {
  const int queue = msgget(static_cast<key_t>(verb.number(0)), 0);
  answer.add_result(queue != -1 && msgctl(queue, IPC_RMID, nullptr) == 0);
}

void do_queue(const Verb& verb, Answer& answer) {
  answer.add_result(mq_open(verb.argument(0), O_RDONLY) != static_cast<mqd_t>(-1));
}

void do_make_queue(const Verb& verb, Answer& answer) {
  answer.add_result(mq_open(verb.argument(0), O_RDWR | O_CREAT | O_EXCL, 0600, nullptr) !=
                    static_cast<mqd_t>(-1));
}

void do_remove_queue(const Verb& verb, Answer& answer) {
  answer.add_result(mq_unlink(verb.argument(0)) == 0);
}

void do_mount(const Verb& verb, Answer& answer) {
  (void)mkdir(verb.argument(0), 0755);
  answer.add_result(mount(nonce, verb.argument(0), "tmpfs", 0, nullptr) == 0);
}

// orphan=MILLISECONDS: leaves a grandchild that ends after a moment, and that only PID 1 can reap.
void orphan(const Verb& verb) {
  const pid_t child = fork();
  if (child == 0) {
    if (fork() == 0) {
      usleep(static_cast<useconds_t>(verb.number(0)) * 1000);
      _exit(0);
    }
    _exit(0);
  }
  (void)waitpid(child, nullptr, 0);
  Answer answer(verb);
  answer.add_result(true);
  answer.send();
}

// orphans=COUNT: leaves this many grandchildren, which wait to be killed, and which only PID 1 can
// reap.
void orphans(const Verb& verb) {
  bool good = true;
  for (long i = 0; i < verb.number(0); ++i) good = in_grandchild([] { (void)pause(); }) && good;
  Answer answer(verb);
  answer.add_result(good);
  answer.send();
}

// no_death_signal: revokes for this process the death signal that the program under test may have
// asked for.
void revoke_death_signal(const Verb& verb) {
  Answer answer(verb);
  answer.add_result(prctl(PR_SET_PDEATHSIG, 0) == 0);
  answer.send();
}

// daemon=SECONDS: leaves a process in a session of its own.
void leave_daemon(const Verb& verb) {
  const pid_t child = fork();
  if (child == 0) {
    (void)setsid();
    if (fork() != 0) _exit(0);
    for (int fd = 0; fd < 3; ++fd) (void)close(fd);
    for (int signal = 1; signal < SIGRTMIN; ++signal) (void)::signal(signal, SIG_IGN);
    sleep(static_cast<unsigned>(verb.number(0)));
    _exit(0);
  }
  (void)waitpid(child, nullptr, 0);
  Answer answer(verb);
  answer.add_result(true);
  answer.send();
}

constexpr KnownVerb kVerbs[] = {
    {"hostname", do_hostname},
    {"set_hostname", do_set_hostname},
    {"clocks", do_clocks},
    {"processes", do_processes},
    {"kill", do_kill},
    {"sysv", do_sysv},
    {"make_sysv", do_make_sysv},
    {"remove_sysv", do_remove_sysv},
    {"queue", do_queue},
    {"make_queue", do_make_queue},
    {"remove_queue", do_remove_queue},
    {"mount", do_mount},
    {"orphan", nullptr, orphan},
    {"orphans", nullptr, orphans},
    {"daemon", nullptr, leave_daemon},
    {"no_death_signal", nullptr, revoke_death_signal},
};

}  // namespace

std::span<const KnownVerb> namespaces_verbs() { return kVerbs; }
