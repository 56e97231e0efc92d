// SELinux: the type in a process's label says what it may do to files of which type, and the level
// keeps apart what has the same type, see selinux(8).
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace box {

// The type of a container's processes in containers.cil.
inline constexpr const char* kDefaultType = "hood_container_t";

// --security-opt label=…: "" is the default of that part.
struct LabelRequest {
  std::string user, role, type, level;
  bool disabled = false;
  // In place of the parts: whole labels, as the engines of stage 11 choose them; "": none.
  std::string process, files;

  [[nodiscard]] bool is_whole() const { return !process.empty() || !files.empty(); }
  [[nodiscard]] bool is_default() const;
};

// Labels are "user:role:type:level", for instance system_u:system_r:hood_container_t:s0:c1,c2.
struct Labels {
  std::string process;  // of the command
  std::string files;    // of the file systems that are made for it
  UniqueFd level;       // as long as it is open, no other container of ours draws that level
};

// Whether this kernel uses SELinux, and lets us ask about its policy.
[[nodiscard]] bool has_selinux();

// Returns the labels of a container: where nothing else was asked for, our own user and role, the
// types in containers.cil, and a level of two random categories, which no living container has.
[[nodiscard]] Labels labels_for(const LabelRequest& request);

// Returns a socket, as long as which is open no other call returns one for this level; -1 if
// another process has it.
[[nodiscard]] UniqueFd claim_level(const std::string& level);

// Whether the loaded policy knows such a label.
[[nodiscard]] bool is_in_policy(const std::string& label);

// Whether the loaded policy lets this process become one with that label, with no_new_privs, by
// execve(2). Permissive, SELinux lets it do anything, and only logs it.
[[nodiscard]] bool may_change_to(const std::string& label);

// Returns the label of this process itself.
[[nodiscard]] std::string own_label();

// In the child: from its next execve(2) on it has this label. `proc` is the container's /proc.
void change_label_at_exec(const UniqueFd& proc, const std::string& label);

}  // namespace box
