// Stage 08b: what root of the container may still do, see capabilities(7).
#pragma once

#include <string>
#include <vector>

#include "common/command_line.h"
#include "stages/05_userns/id_map.h"
#include "stages/08b_seccomp/capability_names.h"

namespace box {

// What --cap-add and --cap-drop leave, by docker run's rules: of the default ones those that are
// not dropped, and those that are added; with "ALL" added, all but the dropped ones; with "ALL"
// dropped, the added ones alone. Throws Failure for an unknown name.
[[nodiscard]] CapabilitySet granted_capabilities(const std::vector<std::string>& add,
                                                 const std::vector<std::string>& drop);

// --cap-add, --cap-drop and --no-new-privs
struct CapabilityOptions {
  explicit CapabilityOptions(CommandLine& line);

  CapabilitySet granted = default_capabilities();
  bool no_new_privs = true;

 private:
  std::vector<std::string> add_;
  std::vector<std::string> drop_;
};

// In the child, when the container is built: it becomes the user of --user, and keeps of its
// capabilities, from the execve(2) on, only what is granted. Root of the container, as with docker
// run, gets these; another user gets none, and set-user-ID programs give them none. Until the
// execve(2), with --no-new-privs=false, it keeps CAP_SYS_ADMIN, which seccomp(2) needs then.
void drop_privileges(const CapabilityOptions& capabilities, const IdOptions& ids);

}  // namespace box
