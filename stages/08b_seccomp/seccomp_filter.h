// Stage 08b: which system calls the container may make, see seccomp(2).
#pragma once

#include <string>

#include "common/command_line.h"
#include "stages/01_exec/process.h"
#include "stages/08b_seccomp/bpf.h"
#include "stages/08b_seccomp/capabilities.h"
#include "stages/08b_seccomp/denied_calls.h"
#include "stages/08b_seccomp/profile.h"

namespace box {

// --seccomp. The profile's rules depend on `capabilities`: with --cap-add SYS_ADMIN the default
// profile allows mount(2).
struct SeccompOptions {
  SeccompOptions() = default;
  SeccompOptions(CommandLine& line, const CapabilityOptions& capabilities);
  // The text of a profile, for a container with these capabilities.
  SeccompOptions(const std::string& json, CapabilitySet granted, Supervisor supervisor);

  BpfProgram program;  // after parse(); empty: unconfined
  unsigned flags = 0;  // of seccomp(2)

 private:
  std::string profile_ = "default";
};

// Whether a program leaves some call to a supervisor.
[[nodiscard]] bool asks_supervisor(const BpfProgram& program);

class SeccompFilter {
 public:
  // In the parent, before the child starts. With --verbose it will report which calls are denied.
  explicit SeccompFilter(const SeccompOptions& seccomp);

  // In the child, last: from here on it and all its descendants can make only the calls that the
  // filter allows. All calls that build the container must be done by now, because capset(2),
  // setresuid(2) and others may be denied; only execve(2) remains. The parent, which forwards
  // signals and cleans up, has no filter.
  //
  // seccomp(2) requires either no_new_privs, because otherwise a user could make single calls of a
  // set-user-ID program fail, or CAP_SYS_ADMIN in the user namespace. drop_privileges() leaves us
  // one of the two.
  void install() const;

  // install(), for a supervisor of somebody else's: returns the listener, which execve(2) closes.
  // `flags` of seccomp(2) are added. After that no other system call is made here.
  [[nodiscard]] int install_for_supervisor(unsigned flags) const;

  // install(), for exec_command().
  [[nodiscard]] LastStep as_last_step() const;

  // In the parent, after the container has ended: reports it if the filter has killed the command,
  // which would otherwise look like a crash. Returns `exit_status`.
  [[nodiscard]] int explain(int exit_status) const;

 private:
  const SeccompOptions& options_;
  DeniedCalls denied_;
};

}  // namespace box
