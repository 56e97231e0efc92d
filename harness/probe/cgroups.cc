// Stage 07: files of cgroups, and what a limit is for.

#include "harness/probe/probe.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

// Opens an existing file and writes to it: for files of the kernel, the result of write(2) is the
// outcome.
void write_to(Answer& answer, const char* path, const char* text) {
  const int fd = open(path, O_WRONLY);
  answer.add_result(fd != -1 && write(fd, text, strlen(text)) != -1);
  if (fd != -1) close(fd);
}

void do_write_to(const Verb& verb, Answer& answer) {
  write_to(answer, verb.argument(0), verb.argument(1));
}

// write_to_new_cgroup2=DIRECTORY,FILE,TEXT: mounts cgroup2 again, writable.
void do_write_to_new_cgroup2(const Verb& verb, Answer& answer) {
  char path[512];
  (void)mkdir(verb.argument(0), 0755);
  if (mount("cgroup2", verb.argument(0), "cgroup2", 0, nullptr) == -1) {
    return answer.add_result(false);
  }
  snprintf(path, sizeof path, "%s/%s", verb.argument(0), verb.argument(1));
  write_to(answer, path, verb.argument(2));
  (void)umount2(verb.argument(0), MNT_DETACH);
}

// leave_cgroup=MOUNT,CGROUP: uncovers the host's cgroups, makes them writable, and moves our parent
// into another of them.
void do_leave_cgroup(const Verb& verb, Answer& answer) {
  char path[512];
  char parent[16];
  (void)umount2(verb.argument(0), MNT_DETACH);
  // The other flags are locked and must not change, see mount_namespaces(7).
  (void)mount(nullptr, verb.argument(0), nullptr,
              MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  snprintf(path, sizeof path, "%s/cgroup.procs", verb.argument(1));
  snprintf(parent, sizeof parent, "%d", getppid());
  write_to(answer, path, parent);
}

// eat=MIB: uses this much memory.
void do_eat(const Verb& verb, Answer& answer) {
  const auto size = static_cast<size_t>(verb.number(0)) << 20;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  answer.add_result(memory != MAP_FAILED);
  for (size_t i = 0; memory != MAP_FAILED && i < size; i += 4096) {
    static_cast<volatile char*>(memory)[i] = 1;
  }
}

// burn=COUNT: leaves this many grandchildren, each of which keeps a CPU busy for a minute.
void burn(const Verb& verb) {
  bool good = true;
  for (long i = 0; i < verb.number(0); ++i) {
    good = in_grandchild([] {
             alarm(60);
             while (getppid() != -1) {  // makes a system call each time, so that under emulation
                                        // other processes get a turn
             }
           }) &&
           good;
  }
  Answer answer(verb);
  answer.add_result(good);
  answer.send();
}

// fork_bomb=MOST: every process forks, again and again, up to MOST processes.
void fork_bomb(const Verb& verb) {
  auto* count = static_cast<int*>(
      mmap(nullptr, sizeof(int), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  const auto most = static_cast<int>(verb.number(0));
  const bool good = count != MAP_FAILED && in_grandchild([&] {
                      alarm(60);
                      while (__atomic_add_fetch(count, 1, __ATOMIC_RELAXED) <= most) {
                        if (fork() == -1) {
                          __atomic_sub_fetch(count, 1, __ATOMIC_RELAXED);
                          usleep(1000);
                        }
                      }
                      pause();
                    });
  Answer answer(verb);
  answer.add_result(good);
  answer.send();
}

constexpr KnownVerb kVerbs[] = {
    {"write_to", do_write_to},         {"write_to_new_cgroup2", do_write_to_new_cgroup2},
    {"leave_cgroup", do_leave_cgroup}, {"eat", do_eat},
    {"burn", nullptr, burn},           {"fork_bomb", nullptr, fork_bomb},
};

}  // namespace

std::span<const KnownVerb> cgroups_verbs() { return kVerbs; }
