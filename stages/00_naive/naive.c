// A whole container in one file, naive on purpose: it works, and nearly each of its lines is a
// mistake that a stage of this toolkit mends. README.md goes through them one by one.
//
//   naive [--rootfs DIR] [--hostname NAME] [--] COMMAND [ARG...]      as any user

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void check(int result, const char* call) {
  if (result != -1) return;
  perror(call);
  exit(125);
}

static void put(const char* path, const char* text) {
  int fd = open(path, O_WRONLY);
  if (fd == -1 || write(fd, text, strlen(text)) == -1) return;
  close(fd);
}

int main(int argc, char** argv) {
  const char *root = "/", *name = "naive";
  char text[4096];
  int at = 1;
  for (; at < argc && argv[at][0] == '-'; ++at) {
    if (strcmp(argv[at], "--") == 0 && ++at) break;
    if (strcmp(argv[at], "--rootfs") == 0 && argv[at + 1])
      root = argv[++at];
    else if (strcmp(argv[at], "--hostname") == 0 && argv[at + 1])
      name = argv[++at];
    else
      return fprintf(stderr, "naive: unknown option %s\n", argv[at]), 125;
  }

  // Limits: a cgroup, and this process in it.
  mkdir("/sys/fs/cgroup/naive", 0755);
  put("/sys/fs/cgroup/naive/memory.max", "256m");
  put("/sys/fs/cgroup/naive/pids.max", "100");
  snprintf(text, sizeof text, "%d", getpid());
  put("/sys/fs/cgroup/naive/cgroup.procs", text);

  // Namespaces: this process enters all but the PID namespace, which is for its children.
  int uid = getuid(), gid = getgid();
  int kinds = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC;
  check(unshare(kinds | CLONE_NEWCGROUP | CLONE_NEWNET), "unshare");
  snprintf(text, sizeof text, "0 %d 1", uid);
  put("/proc/self/uid_map", text);
  put("/proc/self/setgroups", "deny");
  snprintf(text, sizeof text, "0 %d 1", gid);
  put("/proc/self/gid_map", text);
  check(sethostname(name, strlen(name)), "sethostname");

  int child = fork();
  if (child == 0) {
    // The root: a layer in memory on top of a directory of the host.
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount(/, private)");
    check(mount("tmpfs", "/mnt", "tmpfs", 0, NULL), "mount(/mnt)");
    check(mkdir("/mnt/up", 0755) | mkdir("/mnt/work", 0755) | mkdir("/mnt/root", 0755), "mkdir");
    snprintf(text, sizeof text, "lowerdir=%s,upperdir=/mnt/up,workdir=/mnt/work,userxattr", root);
    check(mount("overlay", "/mnt/root", "overlay", 0, text), "mount(overlay)");
    check(mount("proc", "/mnt/root/proc", "proc", 0, NULL), "mount(/proc)");
    check(mount("/dev", "/mnt/root/dev", NULL, MS_BIND | MS_REC, NULL), "mount(/dev)");
    check(mount("/sys", "/mnt/root/sys", NULL, MS_BIND | MS_REC, NULL), "mount(/sys)");
    check(mkdir("/mnt/root/.old", 0755) | chdir("/mnt/root"), "mkdir(.old)");
    check(syscall(SYS_pivot_root, ".", ".old"), "pivot_root");
    check(umount2(".old", MNT_DETACH), "umount2(.old)");
    check(chdir("/"), "chdir(/)");

    // Rights: a filter that refuses one system call.
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mount, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog filter = {sizeof code / sizeof *code, code};
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl");
    check(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), "seccomp");

    execvp(argv[at], argv + at);
    perror(argv[at]);
    return 127;
  }
  int status;
  waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}
