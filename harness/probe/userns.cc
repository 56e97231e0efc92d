// Stage 05: operations that only root may do.

#include "harness/probe/probe.h"

#include <sys/stat.h>
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

constexpr KnownVerb kVerbs[] = {
    {"mknod", do_mknod},
    {"chown", do_chown},
    {"setuid", do_setuid},
};

}  // namespace

std::span<const KnownVerb> userns_verbs() { return kVerbs; }
