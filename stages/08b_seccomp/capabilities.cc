#include "stages/08b_seccomp/capabilities.h"

#include <linux/capability.h>
#include <strings.h>
#include <sys/prctl.h>

#include "common/capability_sets.h"
#include "common/check.h"

namespace box {
namespace {

bool is_all(const std::string& name) { return strcasecmp(name.c_str(), "ALL") == 0; }

// Returns the capabilities of these names except "ALL"; `all` is set if that is among them.
CapabilitySet set_of(const std::vector<std::string>& names, bool& all) {
  CapabilitySet set = 0;
  for (const auto& name : names) {
    if (is_all(name)) {
      all = true;
    } else {
      set |= bit_of(capability_called(name).value());
    }
  }
  return set;
}

void check_name(const std::string& name) {
  if (is_all(name) || capability_called(name)) return;
  const std::string nearest = nearest_capability(name);
  throw Failure("is not a capability", nearest.empty() ? "man 7 capabilities lists them"
                                                       : "did you mean " + nearest + "?");
}

// The capabilities that this kernel has: in a new user namespace, a process has each of them, see
// user_namespaces(7). To ask for one after the other with PR_CAPBSET_READ would not do, because a
// seccomp filter around us that returns EINVAL for one of them would look like the end of the list,
// and those after it would not be dropped.
CapabilitySet known_capabilities() {
  CapabilitySets sets;
  check_quietly(get_capabilities(sets), "capget()");
  return sets.permitted;
}

constexpr int kLastBit = 63;

// Whether a program could get it by execve(2). Without a user namespace of its own, a process may
// lack capabilities, of which the bounding set nevertheless has some.
bool may_be_gained(CapabilitySet known, int capability) {
  return contains(known, capability) ||
         (contains(all_capabilities(), capability) && prctl(PR_CAPBSET_READ, capability) == 1);
}

ProcessCapabilities known_of(ProcessCapabilities sets, CapabilitySet known) {
  for (CapabilitySet* set :
       {&sets.bounding, &sets.permitted, &sets.effective, &sets.inheritable, &sets.ambient}) {
    *set &= known;
  }
  return sets;
}

}  // namespace

CapabilitySet granted_capabilities(const std::vector<std::string>& add,
                                   const std::vector<std::string>& drop) {
  for (const auto& name : add) check_name(name);
  for (const auto& name : drop) check_name(name);
  bool add_all = false;
  bool drop_all = false;
  const CapabilitySet added = set_of(add, add_all);
  const CapabilitySet dropped = set_of(drop, drop_all);
  if (add_all) return all_capabilities() & ~dropped;
  return drop_all ? added : (default_capabilities() & ~dropped) | added;
}

CapabilityOptions::CapabilityOptions(CommandLine& line) {
  const auto take = [&line](const std::string& option, std::vector<std::string>& names,
                            const std::string& help) {
    line.add_option(option, "NAME|ALL", help, [&names](const std::string& name) {
      check_name(name);
      names.push_back(name);
    });
  };
  take("--cap-add", add_, "grant a capability");
  take("--cap-drop", drop_, "drop a capability");
  line.add_flag("--no-new-privs", no_new_privs,
                "set-user-ID programs gain no privileges (default; --no-new-privs=false lets"
                " them)");
  line.add_check([this] { granted = granted_capabilities(add_, drop_); });
}

void drop_privileges(const CapabilityOptions& capabilities, const IdOptions& ids) {
  const CapabilitySet granted = capabilities.granted;
  // Inheritable stays empty: otherwise a program with file capabilities could gain those in it,
  // even for a user that root has become (CVE-2022-24769).
  keep_only({.bounding = granted,
             .permitted = granted,
             .effective = granted,
             .inheritable = 0,
             .ambient = 0},
            capabilities.no_new_privs, ids);
}

void keep_only(const ProcessCapabilities& all_sets, bool no_new_privs, const IdOptions& ids) {
  const CapabilitySet known = known_capabilities();
  const ProcessCapabilities sets = known_of(all_sets, known);

  // No execve(2) gives a capability that is not in the bounding set: neither to root, which
  // otherwise gets all of them, nor by file capabilities. We do this now because it needs
  // CAP_SETPCAP; it does not change our own capabilities.
  for (int capability = 0; capability <= kLastBit; ++capability) {
    if (contains(sets.bounding, capability) || !may_be_gained(known, capability)) continue;
    check_quietly(prctl(PR_CAPBSET_DROP, capability), "prctl(PR_CAPBSET_DROP, {})", capability);
  }
  if (tracing()) trace("prctl(PR_CAPBSET_DROP), all but " + names_of_capabilities(sets.bounding));

  // A change from uid 0 clears the permitted set. This securebit keeps it until the execve(2). The
  // other securebits would remove from root inside what Docker leaves it, and with a bounding set
  // as small as root's own sets they could remove nothing else.
  check(prctl(PR_SET_KEEPCAPS, 1), "prctl(PR_SET_KEEPCAPS, 1)");
  become_user(ids);

  // Without no_new_privs, seccomp(2) needs CAP_SYS_ADMIN and comes later, so we keep this
  // capability until the execve(2), which drops it: the kernel computes a program's capabilities
  // from the bounding, inheritable and ambient sets alone.
  const CapabilitySet for_seccomp = no_new_privs ? 0 : bit_of(CAP_SYS_ADMIN);
  const CapabilitySets kept = {.effective = sets.effective | for_seccomp,
                               .permitted = sets.permitted | for_seccomp,
                               .inheritable = sets.inheritable};
  check(set_capabilities(kept), "capset({:#x}, inheritable: {:#x})", kept.permitted,
        kept.inheritable);
  check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0),
        "prctl(PR_CAP_AMBIENT_CLEAR_ALL)");
  for (int capability = 0; capability <= kLastBit; ++capability) {
    if (!contains(sets.ambient, capability)) continue;
    check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0),
          "prctl(PR_CAP_AMBIENT_RAISE, {})", capability);
  }

  // From now on set-user-ID and file capabilities have no effect, for us and for all our
  // descendants.
  if (no_new_privs) {
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS, 1)");
  }
}

}  // namespace box
