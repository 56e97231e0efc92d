// The container of many tutorials: clone(2) with flags, chroot(2), /proc.
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

static char stack[1024 * 1024];

static int child(void* arg) {
  char** argv = arg;
  sethostname("container", 9);
  chroot(argv[2]);
  chdir("/");
  mount("proc", "/proc", "proc", 0, NULL);
  execvp(argv[3], argv + 3);
  perror("exec");
  return 1;
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: %s run ROOT COMMAND\n", argv[0]);
    return 1;
  }
  int flags = CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWNS;
  pid_t pid = clone(child, stack + sizeof stack, flags | SIGCHLD, argv);
  if (pid == -1) {
    perror("clone");
    return 1;
  }
  waitpid(pid, NULL, 0);
  return 0;
}
