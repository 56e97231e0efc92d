// What the verbs of all stages share: their arguments, and their replies. See main.cc.

#ifndef HARNESS_PROBE_PROBE_H_
#define HARNESS_PROBE_PROBE_H_

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#include <span>

inline constexpr int kMostArguments = 4;

extern const char* nonce;
extern char** words_after;  // those behind "--"
extern char* own_path;      // argv[0]

struct Verb {
  const char* text = "";  // as it was given
  char name[64] = {};
  char* arguments[kMostArguments] = {};
  int count = 0;

  const char* argument(int i) const { return i < count ? arguments[i] : ""; }
  long number(int i) const { return strtol(argument(i), nullptr, 0); }
};

// One line of JSON, built up and then written at once, so that lines of two processes do not mix.
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
  // "ok": true, or the name of errno.
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
  // Bytes beyond ASCII become the code points of Latin-1, so that every text can be sent.
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

// A file's text, at most 2 KiB of it, or why `fd` could not be opened. Closes it.
void add_text_of(Answer& answer, int fd);

// The path `path`, but from `directory` up as far as it goes, and then down again.
void add_text_from(Answer& answer, int directory, const char* path);

// Changes our name on the host: /proc/PID/cmdline shows argv[0].
void call_ourselves_child();

// Runs `body` in a grandchild in a session of its own, whose name on the host is not probe any
// more, so that the harness can tell it from us.
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

struct KnownVerb {
  const char* name;
  void (*in_child)(const Verb&, Answer&);  // in a child of its own, whose reply is then sent
  void (*in_this_process)(const Verb&) = nullptr;  // or here, where the verb sends the reply itself
};

std::span<const KnownVerb> exec_verbs();
std::span<const KnownVerb> chroot_verbs();
std::span<const KnownVerb> namespaces_verbs();
std::span<const KnownVerb> userns_verbs();
std::span<const KnownVerb> pivot_root_verbs();
std::span<const KnownVerb> cgroups_verbs();
std::span<const KnownVerb> overlayfs_verbs();
std::span<const KnownVerb> seccomp_verbs();
std::span<const KnownVerb> network_verbs();
std::span<const KnownVerb> lsm_verbs();

#endif  // HARNESS_PROBE_PROBE_H_
