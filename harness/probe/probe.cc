// The probe: runs inside the container that is tested, does what it is told, and says what it saw.
//
//   probe NONCE VERB[=ARGUMENT[,ARGUMENT...]]... [-- WORD...]
//
// Each verb is answered by one line of JSON, which carries NONCE. A verb that changes this process
// (its root, its user) does so in a child of its own, so that no verb spoils the next. No verdict
// rests on this program alone: what the host can see, the harness reads on the host.
//
// It is written against libc only: it is copied into every root file system, and has to start in
// any.

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <mqueue.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/msg.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

namespace {

constexpr int kMostArguments = 4;
constexpr const char* kUp =
    "../../../../../../../../../../../../../../../../../../../../../../../../../../../../../../../"
    "..";

const char* nonce = "";
char** words_after = nullptr;  // those behind "--"
char* own_path = nullptr;      // argv[0]

struct Verb {
  const char* text = "";  // as it was given
  char name[64] = {};
  char* arguments[kMostArguments] = {};
  int count = 0;

  const char* argument(int i) const { return i < count ? arguments[i] : ""; }
  long number(int i) const { return strtol(argument(i), nullptr, 0); }
};

// One line of JSON, built up and then written at once: lines of two processes shall not mix.
class Answer {
 public:
  explicit Answer(const Verb& verb) {
    add_raw("{\"nonce\":");
    add_string(nonce);
    add("verb", verb.text);
  }

  void add(const char* key, const char* value) {
    add_key(key);
    add_string(value);
  }
  void add(const char* key, long value) {
    add_key(key);
    add_format("%ld", value);
  }
  void add_list(const char* key, char** values, int count) {
    add_key(key);
    add_raw("[");
    for (int i = 0; i < count; ++i) {
      if (i > 0) add_raw(",");
      add_string(values[i]);
    }
    add_raw("]");
  }
  // "ok": true, or what errno is called.
  void add_result(bool good) {
    if (good) {
      add_key("ok");
      add_raw("true");
    } else {
      const char* name = strerrorname_np(errno);
      add("errno", name != nullptr ? name : "?");
    }
  }
  void send() {
    add_raw("}\n");
    (void)!write(STDOUT_FILENO, text_, size_);
  }

 private:
  void add_key(const char* key) {
    add_raw(",");
    add_string(key);
    add_raw(":");
  }
  // Bytes beyond ASCII become the code points of Latin-1, so that every text can be told.
  void add_string(const char* value) {
    add_raw("\"");
    for (; *value != '\0'; ++value) {
      const auto byte = static_cast<unsigned char>(*value);
      if (byte == '"' || byte == '\\' || byte < ' ' || byte > '~') {
        add_format("\\u%04x", byte);
      } else {
        add_format("%c", byte);
      }
    }
    add_raw("\"");
  }
  void add_raw(const char* raw) { add_format("%s", raw); }
  void add_format(const char* format, ...) __attribute__((format(printf, 2, 3))) {
    va_list arguments;
    va_start(arguments, format);
    const int size = vsnprintf(text_ + size_, sizeof text_ - size_, format, arguments);
    va_end(arguments);
    if (size > 0 && size_ + static_cast<size_t>(size) < sizeof text_) {
      size_ += static_cast<size_t>(size);
    }
  }

  char text_[64 * 1024];
  size_t size_ = 0;
};

void add_text_of(Answer& answer, int fd) {
  char text[2048] = {};
  const ssize_t size = fd == -1 ? -1 : read(fd, text, sizeof text - 1);
  answer.add_result(size != -1);
  if (size != -1) answer.add("text", text);
  if (size != -1) answer.add("size", size);
  if (fd != -1) close(fd);
}

// The path `path`, but from `directory` up as far as it goes, and then down again.
void add_text_from(Answer& answer, int directory, const char* path) {
  char long_path[4096];
  snprintf(long_path, sizeof long_path, "%s/%s", kUp, path);
  add_text_of(answer, openat(directory, long_path, O_RDONLY | O_NONBLOCK));
}

// --- Verbs that look -------------------------------------------------------------------------

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

void do_read(const Verb& verb, Answer& answer) {
  add_text_of(answer, open(verb.argument(0), O_RDONLY | O_NONBLOCK | O_NOCTTY));
}

void do_read_up(const Verb& verb, Answer& answer) {
  add_text_from(answer, AT_FDCWD, verb.argument(0));
}

// Through a descriptor of a directory that somebody let us inherit.
void do_read_from(const Verb& verb, Answer& answer) {
  add_text_from(answer, static_cast<int>(verb.number(0)), verb.argument(1));
}

void do_list(const Verb& verb, Answer& answer) {
  DIR* folder = opendir(verb.argument(0));
  answer.add_result(folder != nullptr);
  if (folder == nullptr) return;
  static char* names[512];
  int count = 0;
  while (const dirent* entry = readdir(folder)) {
    if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    if (count < 512) names[count++] = strdup(entry->d_name);
  }
  answer.add_list("names", names, count);
}

void do_stat(const Verb& verb, Answer& answer) {
  struct stat st = {};
  const bool good = stat(verb.argument(0), &st) == 0;
  answer.add_result(good);
  if (!good) return;
  struct statfs fs = {};
  (void)statfs(verb.argument(0), &fs);
  answer.add("mode", static_cast<long>(st.st_mode));
  answer.add("uid", static_cast<long>(st.st_uid));
  answer.add("gid", static_cast<long>(st.st_gid));
  answer.add("major", static_cast<long>(major(st.st_rdev)));
  answer.add("minor", static_cast<long>(minor(st.st_rdev)));
  answer.add("fs", static_cast<long>(fs.f_type));
}

void do_cwd(const Verb&, Answer& answer) {
  char path[4096];
  const bool good = getcwd(path, sizeof path) != nullptr;
  answer.add_result(good);
  if (good) answer.add("path", path);
}

void do_hostname(const Verb&, Answer& answer) {
  char name[256] = {};
  answer.add_result(gethostname(name, sizeof name - 1) == 0);
  answer.add("name", name);
}

// processes=NAME,DIRECTORY: how many are called NAME, in argv[0]? Seen through /proc, or, where
// there is none, through one that is mounted on DIRECTORY.
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

void do_sysv(const Verb& verb, Answer& answer) {
  answer.add_result(msgget(static_cast<key_t>(verb.number(0)), 0) != -1);
}

void do_queue(const Verb& verb, Answer& answer) {
  answer.add_result(mq_open(verb.argument(0), O_RDONLY) != static_cast<mqd_t>(-1));
}

void do_terminal(const Verb&, Answer& answer) {
  winsize size = {};
  answer.add_result(ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0);
  answer.add("rows", size.ws_row);
  answer.add("columns", size.ws_col);
  answer.add("foreground", tcgetpgrp(STDIN_FILENO) == getpgrp());
}

// --- Verbs that try --------------------------------------------------------------------------

void do_write(const Verb& verb, Answer& answer) {
  const int fd = open(verb.argument(0), O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY, 0644);
  answer.add_result(fd != -1 && write(fd, nonce, strlen(nonce)) != -1);
}

// Opens only: what is written to some files of /proc would change the machine.
void do_open_to_write(const Verb& verb, Answer& answer) {
  answer.add_result(open(verb.argument(0), O_WRONLY | O_NONBLOCK | O_NOCTTY) != -1);
}

void do_set_hostname(const Verb& verb, Answer& answer) {
  answer.add_result(sethostname(verb.argument(0), strlen(verb.argument(0))) == 0);
}

void do_kill(const Verb& verb, Answer& answer) {
  answer.add_result(kill(static_cast<pid_t>(verb.number(0)), static_cast<int>(verb.number(1))) ==
                    0);
}

void do_make_sysv(const Verb& verb, Answer& answer) {
  answer.add_result(msgget(static_cast<key_t>(verb.number(0)), IPC_CREAT | IPC_EXCL | 0600) != -1);
}

void do_remove_sysv(const Verb& verb, Answer& answer) {
  const int queue = msgget(static_cast<key_t>(verb.number(0)), 0);
  answer.add_result(queue != -1 && msgctl(queue, IPC_RMID, nullptr) == 0);
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

void do_mknod(const Verb& verb, Answer& answer) {
  const auto device =
      makedev(static_cast<unsigned>(verb.number(1)), static_cast<unsigned>(verb.number(2)));
  answer.add_result(mknod(verb.argument(0), S_IFCHR | 0600, device) == 0);
}

void do_chown(const Verb& verb, Answer& answer) {
  answer.add_result(
      lchown(verb.argument(0), static_cast<uid_t>(verb.number(1)), static_cast<gid_t>(-1)) == 0);
}

void do_remove(const Verb& verb, Answer& answer) {
  answer.add_result(unlink(verb.argument(0)) == 0);
}

void do_rename(const Verb& verb, Answer& answer) {
  answer.add_result(rename(verb.argument(0), verb.argument(1)) == 0);
}

void do_close(const Verb& verb, Answer& answer) {
  answer.add_result(chmod(verb.argument(0), 0600) == 0);
}

// replace_folder=FOLDER,FILE: removes FOLDER, in which there is FILE, and makes a new one.
void do_replace_folder(const Verb& verb, Answer& answer) {
  answer.add_result(unlink(verb.argument(1)) == 0 && rmdir(verb.argument(0)) == 0 &&
                    mkdir(verb.argument(0), 0755) == 0);
}

void do_setuid(const Verb& verb, Answer& answer) {
  const auto user = static_cast<uid_t>(verb.number(0));
  answer.add_result(setresuid(user, user, user) == 0);
}

void do_new_terminal(const Verb&, Answer& answer) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  char name[64] = {};
  const bool good = master != -1 && grantpt(master) == 0 && unlockpt(master) == 0 &&
                    ptsname_r(master, name, sizeof name) == 0 && open(name, O_RDWR) != -1;
  answer.add_result(good);
  if (good) answer.add("name", name);
}

void climb_and_read(Answer& answer, const char* path) {
  for (int i = 0; i < 256 && chdir("..") == 0; ++i) continue;
  if (chroot(".") == -1) return answer.add_result(false);
  add_text_of(answer, open(path, O_RDONLY | O_NONBLOCK));
}

// escape_by_chroot=SECRET,DIRECTORY: the kernel stops ".." at the root, but a process whose working
// directory is not below its root never comes past it, see chroot(2).
void do_escape_by_chroot(const Verb& verb, Answer& answer) {
  (void)mkdir(verb.argument(1), 0755);
  if (chroot(verb.argument(1)) == -1) return answer.add_result(false);
  climb_and_read(answer, verb.argument(0));
}

// The same, for who goes into the directory first: a descriptor of "/" leads out again.
void do_escape_by_descriptor(const Verb& verb, Answer& answer) {
  const int root = open("/", O_RDONLY | O_DIRECTORY);
  (void)mkdir(verb.argument(1), 0755);
  if (chdir(verb.argument(1)) == -1 || chroot(".") == -1 || fchdir(root) == -1) {
    return answer.add_result(false);
  }
  climb_and_read(answer, verb.argument(0));
}

// setns(2) makes the root of a mount namespace the caller's root: of a chroot that is what lies
// around it, and of a root that is only mounted over another, once it is uncovered, the other.
void do_escape_by_setns(const Verb& verb, Answer& answer) {
  const int own = open("/proc/self/ns/mnt", O_RDONLY);
  (void)umount2("/", MNT_DETACH);
  if (setns(own, CLONE_NEWNS) == -1) return answer.add_result(false);
  add_text_of(answer, open(verb.argument(0), O_RDONLY | O_NONBLOCK));
}

// Opens a file that is there and writes to it: files of the kernel answer in the result.
void write_to(Answer& answer, const char* path, const char* text) {
  const int fd = open(path, O_WRONLY);
  answer.add_result(fd != -1 && write(fd, text, strlen(text)) != -1);
  if (fd != -1) close(fd);
}

void do_write_to(const Verb& verb, Answer& answer) {
  write_to(answer, verb.argument(0), verb.argument(1));
}

// write_to_new_cgroup2=DIRECTORY,FILE,TEXT: mounts cgroup2 once more, to be written.
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
  // The other flags are locked, see mount_namespaces(7): they have to stay.
  (void)mount(nullptr, verb.argument(0), nullptr,
              MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr);
  snprintf(path, sizeof path, "%s/cgroup.procs", verb.argument(1));
  snprintf(parent, sizeof parent, "%d", getppid());
  write_to(answer, path, parent);
}

// eat=MIB: uses so much memory.
void do_eat(const Verb& verb, Answer& answer) {
  const auto size = static_cast<size_t>(verb.number(0)) << 20;
  void* memory = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  answer.add_result(memory != MAP_FAILED);
  for (size_t i = 0; memory != MAP_FAILED && i < size; i += 4096) {
    static_cast<volatile char*>(memory)[i] = 1;
  }
}

// --- Verbs that make system calls as no library does ---------------------------------------------

// What became of a call: "ok", the errno, or "killed" for SIGSYS, which a filter may send. In a
// process and a session of its own, so that nothing of what it does stays.
template <typename Call>
const char* outcome_of(const Call& call) {
  int ends[2];
  if (pipe(ends) == -1) return "?";
  const pid_t child = fork();
  if (child == 0) {
    (void)setsid();
    const int error = call() == -1 ? errno : 0;
    (void)!write(ends[1], &error, sizeof error);
    _exit(0);
  }
  close(ends[1]);
  int error = 0;
  const bool told = read(ends[0], &error, sizeof error) == sizeof error;
  close(ends[0]);
  int status = 0;
  if (child == -1 || waitpid(child, &status, 0) == -1) return "?";
  if (WIFSIGNALED(status)) return WTERMSIG(status) == SIGSYS ? "killed" : "crashed";
  if (!told) return "?";
  return error == 0 ? "ok" : strerrorname_np(error);
}

// A list of "NAME=OUTCOME".
class Outcomes {
 public:
  void add(const char* name, const char* outcome) {
    if (count_ == kMost) return;
    (void)!asprintf(&texts_[count_++], "%s=%s", name, outcome);
  }
  void tell(Answer& answer) { answer.add_list("outcomes", texts_, count_); }

 private:
  static constexpr int kMost = 128;
  char* texts_[kMost] = {};
  int count_ = 0;
};

struct NamedCall {
  const char* name;
  long number;
};

// What a container has no use for. Each of them fails harmlessly, or changes its own process, when
// all of its arguments are 1: no pointer, no flag, no file of this kind.
constexpr NamedCall kForbidden[] = {
#ifdef __x86_64__
    {"iopl", SYS_iopl},
    {"ioperm", SYS_ioperm},
    {"sysfs", SYS_sysfs},
    {"ustat", SYS_ustat},
#endif
    {"acct", SYS_acct},
    {"add_key", SYS_add_key},
    {"bpf", SYS_bpf},
    {"clock_settime", SYS_clock_settime},
    {"delete_module", SYS_delete_module},
    {"fanotify_init", SYS_fanotify_init},
    {"finit_module", SYS_finit_module},
    {"fsconfig", SYS_fsconfig},
    {"fsmount", SYS_fsmount},
    {"fsopen", SYS_fsopen},
    {"fspick", SYS_fspick},
    {"get_mempolicy", SYS_get_mempolicy},
    {"init_module", SYS_init_module},
    {"io_uring_enter", SYS_io_uring_enter},
    {"io_uring_register", SYS_io_uring_register},
    {"io_uring_setup", SYS_io_uring_setup},
    {"kcmp", SYS_kcmp},
    {"kexec_file_load", SYS_kexec_file_load},
    {"kexec_load", SYS_kexec_load},
    {"keyctl", SYS_keyctl},
    {"lookup_dcookie", SYS_lookup_dcookie},
    {"mbind", SYS_mbind},
    {"migrate_pages", SYS_migrate_pages},
    {"mount", SYS_mount},
    {"mount_setattr", SYS_mount_setattr},
    {"move_mount", SYS_move_mount},
    {"move_pages", SYS_move_pages},
    {"open_by_handle_at", SYS_open_by_handle_at},
    {"open_tree", SYS_open_tree},
    {"perf_event_open", SYS_perf_event_open},
    {"pidfd_getfd", SYS_pidfd_getfd},
    {"pivot_root", SYS_pivot_root},
    {"process_madvise", SYS_process_madvise},
    {"quotactl", SYS_quotactl},
    {"reboot", SYS_reboot},
    {"request_key", SYS_request_key},
    {"set_mempolicy", SYS_set_mempolicy},
    {"setdomainname", SYS_setdomainname},
    {"sethostname", SYS_sethostname},
    {"setns", SYS_setns},
    {"settimeofday", SYS_settimeofday},
    {"swapoff", SYS_swapoff},
    {"swapon", SYS_swapon},
    {"syslog", SYS_syslog},
    {"umount2", SYS_umount2},
    {"userfaultfd", SYS_userfaultfd},
    {"vhangup", SYS_vhangup},
};

void do_forbidden_calls(const Verb&, Answer& answer) {
  Outcomes outcomes;
  for (const auto& [name, number] : kForbidden) {
    outcomes.add(name, outcome_of([number = number] { return syscall(number, 1, 1, 1, 1, 1, 1); }));
  }
  // ADDR_NO_RANDOMIZE: an exploit need not guess any more where things are.
  outcomes.add("personality", outcome_of([] { return syscall(SYS_personality, 0x40000); }));
  outcomes.tell(answer);
}

// The numbers of x32 are those of x86-64 and a bit. A filter that knows only the latter sees none
// of its calls.
void do_x32_calls(const Verb&, Answer& answer) {
  Outcomes outcomes;
#ifdef __x86_64__
  constexpr long kX32 = 0x40000000;
  for (const auto& [name, number] : kForbidden) {
    outcomes.add(
        name, outcome_of([number = number] { return syscall(kX32 | number, 1, 1, 1, 1, 1, 1); }));
  }
  outcomes.add("getpid", outcome_of([] { return syscall(kX32 | SYS_getpid); }));
#endif
  outcomes.tell(answer);
}

// Calls of a 32-bit program, which a 64-bit one can make as well, with other numbers.
void do_int80_calls(const Verb&, Answer& answer) {
  Outcomes outcomes;
#ifdef __x86_64__
  constexpr NamedCall k32Bit[] = {{"getpid", 20},  {"mount", 21},       {"umount2", 52},
                                  {"keyctl", 288}, {"unshare", 310},    {"setns", 346},
                                  {"bpf", 357},    {"userfaultfd", 374}};
  for (const auto& [name, number] : k32Bit) {
    outcomes.add(name, outcome_of([number = number] {
                   long result = number;
                   asm volatile("int $0x80"
                                : "+a"(result)
                                : "b"(1L), "c"(1L), "d"(1L), "S"(1L), "D"(1L)
                                : "r8", "r9", "r10", "r11", "memory");
                   errno = result < 0 ? static_cast<int>(-result) : 0;
                   return result < 0 ? -1L : result;
                 }));
  }
#endif
  outcomes.tell(answer);
}

// terminal_input=HIGH: TIOCSTI of what is no terminal. The kernel looks at the low half of the
// request; HIGH is the other.
void do_terminal_input(const Verb& verb, Answer& answer) {
  int ends[2];
  const long high = verb.number(0) << 32;
  answer.add_result(pipe(ends) == 0 && syscall(SYS_ioctl, ends[0], high | TIOCSTI, "x") != -1);
}

// Families that know no network namespace, with arguments whose high half the kernel ignores.
void do_socket_families(const Verb&, Answer& answer) {
  Outcomes outcomes;
  constexpr long kHigh = 0x5L << 32;
  constexpr NamedCall kFamilies[] = {{"AF_ALG", AF_ALG},
                                     {"AF_VSOCK", AF_VSOCK},
                                     {"AF_ALG in 64 bits", kHigh | AF_ALG},
                                     {"AF_VSOCK in 64 bits", kHigh | AF_VSOCK}};
  for (const auto& [name, family] : kFamilies) {
    outcomes.add(name, outcome_of([family = family] {
                   return syscall(SYS_socket, family, SOCK_SEQPACKET, 0);
                 }));
  }
  outcomes.tell(answer);
}

void do_new_namespaces(const Verb&, Answer& answer) {
  Outcomes outcomes;
  outcomes.add("unshare", outcome_of([] { return unshare(CLONE_NEWUSER); }));
  outcomes.add("clone", outcome_of([] {
                 const long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);
                 if (child == 0) _exit(0);
                 return child;
               }));
  outcomes.tell(answer);
}

// With a size that no kernel takes: EINVAL, if there is such a call.
void do_clone3(const Verb&, Answer& answer) { answer.add_result(syscall(SYS_clone3, 0, 0) != -1); }

// call=NUMBER: with no file and no memory.
void do_call(const Verb& verb, Answer& answer) {
  answer.add_result(syscall(verb.number(0), -1, 0, 0, 0, 0, 0) != -1);
}

void do_umount(const Verb& verb, Answer& answer) {
  answer.add_result(umount2(verb.argument(0), MNT_DETACH) == 0);
}

void do_effective_user(const Verb&, Answer& answer) {
  answer.add("uid", getuid());
  answer.add("euid", geteuid());
}

// run=PATH,VERB: another probe does VERB, and answers.
void do_run(const Verb& verb, Answer& answer) {
  execl(verb.argument(0), verb.argument(0), nonce, verb.argument(1), nullptr);
  answer.add_result(false);
}

// --- Verbs about the network --------------------------------------------------------------------

sockaddr_in ip_address(const char* address, long port) {
  sockaddr_in ip = {};
  ip.sin_family = AF_INET;
  ip.sin_port = htons(static_cast<in_port_t>(port));
  (void)inet_pton(AF_INET, address, &ip.sin_addr);
  return ip;
}

// In the abstract name space, which a network namespace has for itself, see unix(7).
socklen_t abstract_address(const char* name, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  const int size = snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "%s", name);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<size_t>(size));
}

// The text that whoever listens there says.
void connect_and_read(Answer& answer, int family, const void* address, socklen_t size) {
  const int fd = socket(family, SOCK_STREAM, 0);
  const timeval patience = {1, 0};
  (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(fd, static_cast<const sockaddr*>(address), size) == -1) {
    return answer.add_result(false);
  }
  add_text_of(answer, fd);
}

// connect=ADDRESS,PORT
void do_connect(const Verb& verb, Answer& answer) {
  const sockaddr_in ip = ip_address(verb.argument(0), verb.number(1));
  connect_and_read(answer, AF_INET, &ip, sizeof ip);
}

// connect_abstract=NAME
void do_connect_abstract(const Verb& verb, Answer& answer) {
  sockaddr_un address;
  const socklen_t size = abstract_address(verb.argument(0), address);
  connect_and_read(answer, AF_UNIX, &address, size);
}

// connect_by_name=NAME,PORT: where /etc/hosts says that NAME is.
void do_connect_by_name(const Verb& verb, Answer& answer) {
  FILE* hosts = fopen("/etc/hosts", "re");
  char line[256];
  while (hosts != nullptr && fgets(line, sizeof line, hosts) != nullptr) {
    char* rest = nullptr;
    const char* address = strtok_r(line, " \t\n", &rest);
    for (const char* name = address; name != nullptr; name = strtok_r(nullptr, " \t\n", &rest)) {
      if (name == address || strcmp(name, verb.argument(0)) != 0) continue;
      const sockaddr_in ip = ip_address(address, verb.number(1));
      answer.add("address", address);
      return connect_and_read(answer, AF_INET, &ip, sizeof ip);
    }
  }
  errno = ENOENT;
  answer.add_result(false);
}

// loopback: from ourselves to ourselves.
void do_loopback(const Verb&, Answer& answer) {
  const int server = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in ip = ip_address("127.0.0.1", 0);
  socklen_t size = sizeof ip;
  auto* address = reinterpret_cast<sockaddr*>(&ip);
  if (bind(server, address, size) == -1 || listen(server, 1) == -1 ||
      getsockname(server, address, &size) == -1) {
    return answer.add_result(false);
  }
  answer.add_result(connect(socket(AF_INET, SOCK_STREAM, 0), address, size) == 0);
}

// forge=PORT: a packet to 127.0.0.1 of whoever is at the other end of eth0. Its Ethernet address is
// everybody's: we need not know theirs.
void do_forge(const Verb& verb, Answer& answer) {
  const int fd = socket(AF_PACKET, SOCK_DGRAM, htons(ETH_P_IP));
  sockaddr_ll to = {};
  to.sll_family = AF_PACKET;
  to.sll_protocol = htons(ETH_P_IP);
  to.sll_ifindex = static_cast<int>(if_nametoindex("eth0"));
  to.sll_halen = ETH_ALEN;
  memset(to.sll_addr, 0xff, ETH_ALEN);
  ifreq own = {};
  snprintf(own.ifr_name, sizeof own.ifr_name, "eth0");
  if (fd == -1 || ioctl(fd, SIOCGIFADDR, &own) == -1) return answer.add_result(false);

  struct {
    iphdr ip;
    udphdr udp;
    char text[16];
  } __attribute__((packed)) packet = {};
  snprintf(packet.text, sizeof packet.text, "%s", nonce);
  packet.ip.version = 4;
  packet.ip.ihl = 5;
  packet.ip.ttl = 64;
  packet.ip.protocol = IPPROTO_UDP;
  packet.ip.tot_len = htons(sizeof packet);
  memcpy(&packet.ip.saddr, &reinterpret_cast<sockaddr_in*>(&own.ifr_addr)->sin_addr, 4);
  packet.ip.daddr = htonl(INADDR_LOOPBACK);
  uint32_t sum = 0;
  for (size_t i = 0; i < sizeof packet.ip; i += 2) {
    uint16_t word = 0;
    memcpy(&word, reinterpret_cast<const char*>(&packet) + i, sizeof word);
    sum += word;
  }
  sum = (sum >> 16) + (sum & 0xffff);
  packet.ip.check = static_cast<uint16_t>(~(sum + (sum >> 16)));
  packet.udp.source = htons(1234);
  packet.udp.dest = htons(static_cast<uint16_t>(verb.number(0)));
  packet.udp.len = htons(sizeof packet.udp + sizeof packet.text);
  answer.add_result(sendto(fd, &packet, sizeof packet, 0, reinterpret_cast<sockaddr*>(&to),
                           sizeof to) == sizeof packet);
}

struct KnownVerb {
  const char* name;
  void (*action)(const Verb&, Answer&);
};

constexpr KnownVerb kVerbs[] = {
    {"hello", do_hello},
    {"arguments", do_arguments},
    {"read", do_read},
    {"read_up", do_read_up},
    {"read_from", do_read_from},
    {"list", do_list},
    {"stat", do_stat},
    {"cwd", do_cwd},
    {"hostname", do_hostname},
    {"processes", do_processes},
    {"sysv", do_sysv},
    {"queue", do_queue},
    {"terminal", do_terminal},
    {"write", do_write},
    {"open_to_write", do_open_to_write},
    {"set_hostname", do_set_hostname},
    {"kill", do_kill},
    {"make_sysv", do_make_sysv},
    {"remove_sysv", do_remove_sysv},
    {"make_queue", do_make_queue},
    {"remove_queue", do_remove_queue},
    {"mount", do_mount},
    {"mknod", do_mknod},
    {"chown", do_chown},
    {"remove", do_remove},
    {"rename", do_rename},
    {"close", do_close},
    {"replace_folder", do_replace_folder},
    {"setuid", do_setuid},
    {"new_terminal", do_new_terminal},
    {"escape_by_chroot", do_escape_by_chroot},
    {"escape_by_descriptor", do_escape_by_descriptor},
    {"escape_by_setns", do_escape_by_setns},
    {"connect", do_connect},
    {"connect_abstract", do_connect_abstract},
    {"connect_by_name", do_connect_by_name},
    {"loopback", do_loopback},
    {"forge", do_forge},
    {"write_to", do_write_to},
    {"write_to_new_cgroup2", do_write_to_new_cgroup2},
    {"leave_cgroup", do_leave_cgroup},
    {"eat", do_eat},
    {"forbidden_calls", do_forbidden_calls},
    {"x32_calls", do_x32_calls},
    {"int80_calls", do_int80_calls},
    {"terminal_input", do_terminal_input},
    {"socket_families", do_socket_families},
    {"new_namespaces", do_new_namespaces},
    {"clone3", do_clone3},
    {"call", do_call},
    {"umount", do_umount},
    {"effective_user", do_effective_user},
    {"run", do_run},
};

// --- Verbs of this process itself --------------------------------------------------------------

// Says what it read from stdin up to the end of a line. At end-of-file it waits a moment: time for
// the harness to look at us.
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

// trap=SECONDS: tells each signal that comes, until one more line is read or the time is over.
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
    usleep(100 * 1000);  // end-of-file: nobody will tell us to go on
  }
  Answer done(verb);
  done.add("trap", "done");
  done.send();
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

// daemon=SECONDS: leaves a process that belongs to nobody's session.
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

// On the host we are not called probe any more: argv[0] is what /proc/PID/cmdline shows.
void call_ourselves_child() {
  constexpr const char* kName = "child";
  snprintf(own_path + strlen(own_path) - strlen(kName), strlen(kName) + 1, "%s", kName);
}

// Runs `body` in a grandchild of its own session, which on the host is not called probe any more,
// so that the harness can tell it from us.
template <typename Body>
bool in_grandchild(const Body& body) {
  const pid_t child = fork();
  if (child == 0) {
    (void)setsid();
    call_ourselves_child();
    const pid_t grandchild = fork();
    if (grandchild != 0) _exit(grandchild == -1 ? 1 : 0);
    body();
    _exit(0);
  }
  int status = 0;
  return child != -1 && waitpid(child, &status, 0) == child && status == 0;
}

// Leaves a child that says `text` to everybody who connects to `fd`, as long as we live. In a
// container it is not called probe any more, so that the harness can tell it from us.
bool serve(int fd, const char* text) {
  if (listen(fd, 8) == -1) return false;
  const pid_t child = fork();
  if (child != 0) return child != -1;
  (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (strcmp(nonce, "-") != 0) call_ourselves_child();
  while (true) {
    const int client = accept(fd, nullptr, nullptr);
    (void)!write(client, text, strlen(text));
    (void)close(client);
  }
}

// serve=ADDRESS,PORT,TEXT
void serve_at_port(const Verb& verb) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  const int on = 1;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const sockaddr_in ip = ip_address(verb.argument(0), verb.number(1));
  Answer answer(verb);
  answer.add_result(bind(fd, reinterpret_cast<const sockaddr*>(&ip), sizeof ip) == 0 &&
                    serve(fd, verb.argument(2)));
  answer.send();
}

// serve_abstract=NAME,TEXT
void serve_abstract(const Verb& verb) {
  const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address;
  const socklen_t size = abstract_address(verb.argument(0), address);
  Answer answer(verb);
  answer.add_result(bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0 &&
                    serve(fd, verb.argument(1)));
  answer.send();
}

// catch=PORT,MILLISECONDS: the text of a UDP packet to 127.0.0.1, should one come in time.
void catch_packet(const Verb& verb) {
  const int fd = socket(AF_INET, SOCK_DGRAM, 0);
  const sockaddr_in ip = ip_address("127.0.0.1", verb.number(0));
  const bool good = bind(fd, reinterpret_cast<const sockaddr*>(&ip), sizeof ip) == 0;
  {
    Answer ready(verb);
    ready.add("catch", good ? "ready" : "failed");
    ready.send();
  }
  char text[64] = {};
  pollfd event = {fd, POLLIN, 0};
  const bool came = good && poll(&event, 1, static_cast<int>(verb.number(1))) == 1 &&
                    recv(fd, text, sizeof text - 1, 0) > 0;
  Answer answer(verb);
  answer.add("caught", came ? text : "nothing");
  answer.send();
}

// burn=COUNT: leaves so many grandchildren, each of which keeps a CPU busy for a minute.
void burn(const Verb& verb) {
  bool good = true;
  for (long i = 0; i < verb.number(0); ++i) {
    good = in_grandchild([] {
             alarm(60);
             while (getppid() != -1) {  // a call each time: under emulation others get a turn
             }
           }) &&
           good;
  }
  Answer answer(verb);
  answer.add_result(good);
  answer.send();
}

// fork_bomb=MOST: every process forks, again and again, but no more than MOST come to be.
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

bool do_in_this_process(const Verb& verb) {
  if (strcmp(verb.name, "hold") == 0) {
    hold(verb);
  } else if (strcmp(verb.name, "trap") == 0) {
    trap(verb);
  } else if (strcmp(verb.name, "orphan") == 0) {
    orphan(verb);
  } else if (strcmp(verb.name, "serve") == 0) {
    serve_at_port(verb);
  } else if (strcmp(verb.name, "serve_abstract") == 0) {
    serve_abstract(verb);
  } else if (strcmp(verb.name, "catch") == 0) {
    catch_packet(verb);
  } else if (strcmp(verb.name, "daemon") == 0) {
    leave_daemon(verb);
  } else if (strcmp(verb.name, "burn") == 0) {
    burn(verb);
  } else if (strcmp(verb.name, "fork_bomb") == 0) {
    fork_bomb(verb);
  } else if (strcmp(verb.name, "spoil_terminal") == 0) {
    spoil_terminal(verb);
  } else if (strcmp(verb.name, "sleep_ms") == 0) {
    usleep(static_cast<useconds_t>(verb.number(0)) * 1000);
  } else if (strcmp(verb.name, "exit") == 0) {
    exit(static_cast<int>(verb.number(0)));
  } else if (strcmp(verb.name, "raise") == 0) {
    // As PID 1 we cannot be killed by ourselves, see pid_namespaces(7): then say so.
    (void)signal(static_cast<int>(verb.number(0)), SIG_DFL);
    (void)raise(static_cast<int>(verb.number(0)));
    Answer answer(verb);
    answer.add("raise", "survived");
    answer.send();
  } else {
    return false;
  }
  return true;
}

void do_in_child(const Verb& verb) {
  for (const KnownVerb& known : kVerbs) {
    if (strcmp(verb.name, known.name) != 0) continue;
    const pid_t child = fork();
    if (child == 0) {
      Answer answer(verb);
      known.action(verb, answer);
      answer.send();
      _exit(0);
    }
    int status = 0;
    if (child == -1 || waitpid(child, &status, 0) == -1 || status != 0) {
      Answer answer(verb);
      answer.add("died", child == -1 ? -1 : status);
      answer.send();
    }
    return;
  }
  Answer answer(verb);
  answer.add("unknown", verb.name);
  answer.send();
}

// Takes "name=a,b" apart. `copy`, of the same text, is written to.
void parse(const char* text, char* copy, Verb& verb) {
  verb.text = text;
  char* rest = strchr(copy, '=');
  if (rest != nullptr) *rest++ = '\0';
  snprintf(verb.name, sizeof verb.name, "%.*s", static_cast<int>(sizeof verb.name) - 1, copy);
  while (rest != nullptr && verb.count < kMostArguments) {
    verb.arguments[verb.count++] = rest;
    rest = strchr(rest, ',');
    if (rest != nullptr) *rest++ = '\0';
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    fprintf(stderr, "Usage: probe NONCE VERB[=ARGUMENT[,ARGUMENT...]]... [-- WORD...]\n");
    return 2;
  }
  own_path = argv[0];
  nonce = argv[1];
  int end = 2;
  while (end < argc && strcmp(argv[end], "--") != 0) ++end;
  words_after = end < argc ? argv + end + 1 : nullptr;
  for (int i = 2; i < end; ++i) {
    char copy[8192];
    snprintf(copy, sizeof copy, "%s", argv[i]);
    Verb verb;
    parse(argv[i], copy, verb);
    if (!do_in_this_process(verb)) do_in_child(verb);
  }
  return 0;
}
