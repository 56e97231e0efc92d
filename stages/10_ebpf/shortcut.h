// The shortcut of the published ports: their packets go between the host's links and the
// container's by two eBPF programs, not through netfilter's NAT and the bridge. See bpf(2).
#pragma once

#include <sys/types.h>

#include <memory>

#include "common/command_line.h"
#include "stages/08c_network/janitor.h"
#include "stages/08c_network/network.h"

struct bpf_object;

namespace box {

// --shortcut
struct ShortcutOptions {
  ShortcutOptions(CommandLine& line, const NetworkOptions& networking);

  // Only a port that is published at the bridge has a way that can be made shorter.
  [[nodiscard]] bool applies() const;

 private:
  const NetworkOptions& networking_;
  bool on_ = true;
};

// The programs are attached as long as this exists.
class Shortcut {
 public:
  // In the parent, after the container's network is connected. Where the kernel cannot do it, says
  // so, and all packets go the way that stage 08c has made for them.
  Shortcut(const ShortcutOptions& options, pid_t child);
  ~Shortcut();  // --verbose shows how many packets took it
  Shortcut(const Shortcut&) = delete;
  Shortcut& operator=(const Shortcut&) = delete;

 private:
  struct Close {
    void operator()(bpf_object* object) const;
  };

  void attach(pid_t child);

  std::unique_ptr<bpf_object, Close> programs_;
  std::unique_ptr<Janitor> janitor_;  // detaches them, also if we are killed
};

}  // namespace box
