// Stage 09: a Linux security module decides, after all other checks, what the container may do.
#pragma once

#include <string>

#include "common/command_line.h"
#include "common/unique_fd.h"
#include "stages/06_pivot_root/mounts.h"
#include "stages/09_lsm/kernel_log.h"
#include "stages/09_lsm/selinux.h"

namespace box {

// --security-opt
struct SecurityOptions {
  SecurityOptions() = default;
  explicit SecurityOptions(CommandLine& line);

  std::string apparmor;  // the profile; "": the default one; "unconfined"
  LabelRequest label;
};

class Confinement {
 public:
  // In the parent, before the child starts: finds out which module this kernel has and whether it
  // knows the profile or label. Throws Failure if it cannot do what was asked for. From here on,
  // what is mounted for the container has the label of its files.
  explicit Confinement(const SecurityOptions& security);
  // In the parent, after the container has ended: with --verbose shows what the module has denied.
  ~Confinement();
  Confinement(const Confinement&) = delete;
  Confinement& operator=(const Confinement&) = delete;

  // In the child, with the container built: the label that the command gets by its execve(2), and
  // that everything it starts inherits. Until then we are not confined, because to build a
  // container takes what the profile forbids. Before drop_privileges(): with no_new_privs, a
  // process that is confined already could not ask for another label.
  void confine_command(const HostMounts& host) const;

 private:
  std::string profile_;  // of AppArmor; "": none
  Labels labels_;        // of SELinux; "": none
  KernelLog log_;
};

}  // namespace box
