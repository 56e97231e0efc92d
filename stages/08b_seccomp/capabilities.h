// Stage 08b: the capabilities that root of the container keeps, see capabilities(7).
#pragma once

#include <string>
#include <vector>

#include "common/command_line.h"
#include "stages/05_userns/id_map.h"
#include "stages/08b_seccomp/capability_names.h"

namespace box {

// Returns the capabilities that remain after --cap-add and --cap-drop, by docker run's rules: the
// default ones that are not dropped, and those that are added; with "ALL" added, all except the
// dropped ones; with "ALL" dropped, only the added ones. Throws Failure for an unknown name.
[[nodiscard]] CapabilitySet granted_capabilities(const std::vector<std::string>& add,
                                                 const std::vector<std::string>& drop);

// --cap-add, --cap-drop and --no-new-privs
struct CapabilityOptions {
  CapabilityOptions() = default;
  explicit CapabilityOptions(CommandLine& line);

  CapabilitySet granted = default_capabilities();
  bool no_new_privs = true;

 private:
  std::vector<std::string> add_;
  std::vector<std::string> drop_;
};

// The sets of a process, and after the execve(2) those of the command.
struct ProcessCapabilities {
  CapabilitySet bounding = 0;
  CapabilitySet permitted = 0;
  CapabilitySet effective = 0;
  CapabilitySet inheritable = 0;
  CapabilitySet ambient = 0;
};

// In the child, with the container built: becomes the user of --user, and from the execve(2) on
// keeps only the granted capabilities. As with docker run, root of the container gets these;
// another user gets none, and does not gain any by set-user-ID programs. With --no-new-privs=false
// the child keeps CAP_SYS_ADMIN until the execve(2), because seccomp(2) then needs it.
void drop_privileges(const CapabilityOptions& capabilities, const IdOptions& ids);

// In the child: what drop_privileges() does, with five sets, each as given. What this kernel does
// not know is left out.
void keep_only(const ProcessCapabilities& sets, bool no_new_privs, const IdOptions& ids);

}  // namespace box
