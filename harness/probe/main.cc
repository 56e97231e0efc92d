// The probe: runs inside the container that is tested, does what it is told, and reports what it
// saw.
//
//   probe NONCE VERB[=ARGUMENT[,ARGUMENT...]]... [-- WORD...]
//
// The probe replies to each verb with one line of JSON, which contains NONCE. A verb that changes
// this process (its root, its user) does so in a child of its own, so that it does not affect the
// next one. No verdict rests on this program alone: whatever the host can see, the harness reads on
// the host.
//
// It needs only libc, because it is copied into every root file system and has to start in all of
// them.

#include <sys/wait.h>

#include "harness/probe/probe.h"

namespace {

constexpr std::span<const KnownVerb> (*kStages[])() = {
    exec_verbs,    chroot_verbs,    namespaces_verbs, userns_verbs,  pivot_root_verbs,
    cgroups_verbs, overlayfs_verbs, seccomp_verbs,    network_verbs, lsm_verbs,
};

const KnownVerb* find_verb(const char* name) {
  for (const auto& verbs_of_stage : kStages) {
    for (const KnownVerb& known : verbs_of_stage()) {
      if (strcmp(name, known.name) == 0) return &known;
    }
  }
  return nullptr;
}

void do_in_child(const Verb& verb, const KnownVerb& known) {
  const pid_t child = fork();
  if (child == 0) {
    Answer answer(verb);
    known.in_child(verb, answer);
    answer.send();
    _exit(0);
  }
  int status = 0;
  if (child == -1 || waitpid(child, &status, 0) == -1 || status != 0) {
    Answer answer(verb);
    answer.add("died", child == -1 ? -1 : status);
    answer.send();
  }
}

void do_verb(const Verb& verb) {
  const KnownVerb* known = find_verb(verb.name);
  if (known == nullptr) {
    Answer answer(verb);
    answer.add("unknown", verb.name);
    answer.send();
  } else if (known->in_this_process != nullptr) {
    known->in_this_process(verb);
  } else {
    do_in_child(verb, *known);
  }
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
    do_verb(verb);
  }
  return 0;
}
