// What a security module denies, it writes to the kernel's log, see dmesg(1).
#pragma once

#include <string>

#include "common/unique_fd.h"

namespace box {

// With --verbose: the log from here on. Without, or if we may not read it, nothing.
class KernelLog {
 public:
  KernelLog();

  // Shows what has been denied to processes with that label since then.
  void show_denials(const std::string& label) const;

 private:
  UniqueFd log_;
};

// The denial in one record of /dev/kmsg ("5,1234,567890,-;audit: type=1400 …"), or "" if it is
// another record, or about another label: `profile="LABEL"` or `scontext=LABEL`.
[[nodiscard]] std::string denial_in(const std::string& record, const std::string& label);

}  // namespace box
