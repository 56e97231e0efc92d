// Stage 06: terminals, files of the kernel, and ways out of a root directory.

#include "harness/probe/probe.h"

#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

// Only opens the file, because writing to some files of /proc would change the machine.
void do_open_to_write(const Verb& verb, Answer& answer) {
  answer.add_result(open(verb.argument(0), O_WRONLY | O_NONBLOCK | O_NOCTTY) != -1);
}

// fill=PATH,KIB: writes so much to a new file.
void do_fill(const Verb& verb, Answer& answer) {
  const int fd = open(verb.argument(0), O_WRONLY | O_CREAT, 0644);
  static char zeros[1024];
  bool good = fd != -1;
  for (long i = 0; good && i < verb.number(1); ++i) {
    good = write(fd, zeros, sizeof zeros) == static_cast<ssize_t>(sizeof zeros);
  }
  answer.add_result(good);
}

void do_chmod(const Verb& verb, Answer& answer) {
  answer.add_result(chmod(verb.argument(0), static_cast<mode_t>(verb.number(1))) == 0);
}

void do_new_terminal(const Verb&, Answer& answer) {
  const int master = posix_openpt(O_RDWR | O_NOCTTY);
  char name[64] = {};
  const bool good = master != -1 && grantpt(master) == 0 && unlockpt(master) == 0 &&
                    ptsname_r(master, name, sizeof name) == 0 && open(name, O_RDWR) != -1;
  answer.add_result(good);
  if (good) answer.add("name", name);
}

// type=TEXT: puts TEXT and Return into the input of each terminal that it has, or can open.
void do_type(const Verb& verb, Answer& answer) {
  const int terminals[] = {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO,
                           open("/dev/tty", O_RDWR | O_NOCTTY),
                           open("/dev/console", O_RDWR | O_NOCTTY)};
  long typed_into = 0;
  for (const int fd : terminals) {
    bool good = true;
    for (const char* key = verb.argument(0); good && *key != '\0'; ++key) {
      good = ioctl(fd, TIOCSTI, key) == 0;
    }
    if (good && ioctl(fd, TIOCSTI, "\n") == 0) ++typed_into;
  }
  answer.add("typed_into", typed_into);
}

void climb_and_read(Answer& answer, const char* path) {
  for (int i = 0; i < 256 && chdir("..") == 0; ++i) continue;
  if (chroot(".") == -1) return answer.add_result(false);
  add_text_of(answer, open(path, O_RDONLY | O_NONBLOCK));
}

// escape_by_chroot=SECRET,DIRECTORY: the kernel stops ".." at the root, but on its way up a process
// whose working directory is not below its root never passes it, see chroot(2).
void do_escape_by_chroot(const Verb& verb, Answer& answer) {
  (void)mkdir(verb.argument(1), 0755);
  if (chroot(verb.argument(1)) == -1) return answer.add_result(false);
  climb_and_read(answer, verb.argument(0));
}

// The same for a process that enters the directory first: a descriptor of "/" leads out again.
void do_escape_by_descriptor(const Verb& verb, Answer& answer) {
  const int root = open("/", O_RDONLY | O_DIRECTORY);
  (void)mkdir(verb.argument(1), 0755);
  if (chdir(verb.argument(1)) == -1 || chroot(".") == -1 || fchdir(root) == -1) {
    return answer.add_result(false);
  }
  climb_and_read(answer, verb.argument(0));
}

// setns(2) makes the root of a mount namespace the caller's root: from a chroot that is the tree
// around it, and if the root is only mounted over another one, that is the other one after an
// unmount.
void do_escape_by_setns(const Verb& verb, Answer& answer) {
  const int own = open("/proc/self/ns/mnt", O_RDONLY);
  (void)umount2("/", MNT_DETACH);
  if (setns(own, CLONE_NEWNS) == -1) return answer.add_result(false);
  add_text_of(answer, open(verb.argument(0), O_RDONLY | O_NONBLOCK));
}

constexpr KnownVerb kVerbs[] = {
    {"fill", do_fill},
    {"chmod", do_chmod},
    {"type", do_type},
    {"open_to_write", do_open_to_write},
    {"new_terminal", do_new_terminal},
    {"escape_by_chroot", do_escape_by_chroot},
    {"escape_by_descriptor", do_escape_by_descriptor},
    {"escape_by_setns", do_escape_by_setns},
};

}  // namespace

std::span<const KnownVerb> pivot_root_verbs() { return kVerbs; }
