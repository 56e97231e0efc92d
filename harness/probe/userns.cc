// Stage 05: operations that only root may do.

#include "harness/probe/probe.h"

#include <fcntl.h>
#include <linux/keyctl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace {

void do_mknod(const Verb& verb, Answer& answer) {
  const auto device =
      makedev(static_cast<unsigned>(verb.number(1)), static_cast<unsigned>(verb.number(2)));
  answer.add_result(mknod(verb.argument(0), S_IFCHR | 0600, device) == 0);
}

void do_chown(const Verb& verb, Answer& answer) {
  answer.add_result(
      lchown(verb.argument(0), static_cast<uid_t>(verb.number(1)), static_cast<gid_t>(-1)) == 0);
}

void do_setuid(const Verb& verb, Answer& answer) {
  const auto user = static_cast<uid_t>(verb.number(0));
  answer.add_result(setresuid(user, user, user) == 0);
}

// session_key=NAME,TEXT: this process, and what it executes, has a session keyring with such a key,
// see session-keyring(7).
void make_session_key(const Verb& verb) {
  Answer answer(verb);
  const char* text = verb.argument(1);
  answer.add_result(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, nullptr) != -1 &&
                    syscall(SYS_add_key, "user", verb.argument(0), text, strlen(text),
                            KEY_SPEC_SESSION_KEYRING) != -1);
  answer.send();
}

// key=NAME: the text of a key that the session has.
void do_key(const Verb& verb, Answer& answer) {
  const long key =
      syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_SESSION_KEYRING, "user", verb.argument(0), 0);
  char text[256] = {};
  const bool good = key != -1 && syscall(SYS_keyctl, KEYCTL_READ, key, text, sizeof text - 1) != -1;
  answer.add_result(good);
  if (good) answer.add("text", text);
}

// queue_signals=COUNT: so many signals are pending for this process, as long as it lives.
void queue_signals(const Verb& verb) {
  Answer answer(verb);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGRTMIN);
  bool good = sigprocmask(SIG_BLOCK, &set, nullptr) == 0;
  for (long i = 0; good && i < verb.number(0); ++i) {
    good = sigqueue(getpid(), SIGRTMIN, sigval{}) == 0;
  }
  answer.add_result(good);
  answer.send();
}

// clear_mount_flags=PATH: makes what is mounted there writable, and lets its devices, set-user-ID
// programs and programs work, each by a call of its own: the kernel may forbid one of them only.
void do_clear_mount_flags(const Verb& verb, Answer& answer) {
  bool good = mount(nullptr, verb.argument(0), nullptr, MS_REMOUNT | MS_BIND, nullptr) == 0;
  for (const auto flag :
       {MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC}) {
    mount_attr attr = {};
    attr.attr_clr = static_cast<__u64>(flag);
    good = mount_setattr(AT_FDCWD, verb.argument(0), 0, &attr, sizeof attr) == 0 || good;
  }
  answer.add_result(good);
}

constexpr KnownVerb kVerbs[] = {
    {"mknod", do_mknod},
    {"chown", do_chown},
    {"setuid", do_setuid},
    {"key", do_key},
    {"session_key", nullptr, make_session_key},
    {"queue_signals", nullptr, queue_signals},
    {"clear_mount_flags", do_clear_mount_flags},
};

}  // namespace

std::span<const KnownVerb> userns_verbs() { return kVerbs; }
