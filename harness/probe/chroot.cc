// Stage 02: files, by their paths.

#include "harness/probe/probe.h"

#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

namespace {

void do_read(const Verb& verb, Answer& answer) {
  add_text_of(answer, open(verb.argument(0), O_RDONLY | O_NONBLOCK | O_NOCTTY));
}

void do_read_up(const Verb& verb, Answer& answer) {
  add_text_from(answer, AT_FDCWD, verb.argument(0));
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

void do_write(const Verb& verb, Answer& answer) {
  const int fd = open(verb.argument(0), O_WRONLY | O_CREAT | O_NONBLOCK | O_NOCTTY, 0644);
  answer.add_result(fd != -1 && write(fd, nonce, strlen(nonce)) != -1);
}

constexpr KnownVerb kVerbs[] = {
    {"read", do_read}, {"read_up", do_read_up}, {"list", do_list},
    {"stat", do_stat}, {"cwd", do_cwd},         {"write", do_write},
};

}  // namespace

std::span<const KnownVerb> chroot_verbs() { return kVerbs; }
