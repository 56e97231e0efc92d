// /proc/PID/attr: how a process asks its Linux security module for another label.
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace box {

// Opens the file `name` of our own /proc/self/attr in `proc`, a procfs; -1 if the kernel has none.
// An image can have anything at the path /proc, a volume or a link, and a label that is written to
// an ordinary file has no effect: CVE-2019-16884, CVE-2019-19921. So nothing that is mounted in
// `proc` is passed, and what is opened must be the kernel's.
[[nodiscard]] UniqueFd open_attribute(const UniqueFd& proc, const std::string& name);

// Returns the host's /proc, for the parent.
[[nodiscard]] UniqueFd open_proc();

}  // namespace box
