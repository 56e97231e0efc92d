// Stage 11: a program of the engine's that decides on the system calls for which a filter says
// SCMP_ACT_NOTIFY, see seccomp_unotify(2) and "seccomp" in the runtime specification.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "common/unique_fd.h"
#include "stages/08b_seccomp/seccomp_filter.h"
#include "stages/11_oci/config.h"

namespace box {

class SeccompSupervisor {
 public:
  // In the parent: connects to linux.seccomp.listenerPath, if there is one and the filter asks for
  // decisions. Throws Failure if nobody listens there.
  SeccompSupervisor(const Config& config, const SeccompOptions& seccomp);

  // In the parent, before the child's last step: which process that is, and the container's state
  // as JSON. The supervisor is told both.
  void has_process(pid_t pid, const std::string& state) const;
  // The descriptors that the child needs.
  [[nodiscard]] std::vector<int> descriptors() const { return {socket_.get(), message_.get()}; }
  // In the child, as its last step: installs the filter, and sends the supervisor its listener. No
  // system call is made by this thread from then on, because the filter may want each to be decided
  // on by the supervisor, which does not have the listener yet. Another thread, to which the filter
  // does not apply, sends it.
  void install(const SeccompFilter& filter) const;

 private:
  void send(int listener) const;

  const Config& config_;
  UniqueFd socket_;   // -1: there is no supervisor
  UniqueFd message_;  // in memory, shared with the child
};

}  // namespace box
