// Stage 08a: changes to files of the layers below.

#include "harness/probe/probe.h"

#include <sys/stat.h>
#include <unistd.h>

namespace {

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

constexpr KnownVerb kVerbs[] = {
    {"remove", do_remove},
    {"rename", do_rename},
    {"close", do_close},
    {"replace_folder", do_replace_folder},
};

}  // namespace

std::span<const KnownVerb> overlayfs_verbs() { return kVerbs; }
