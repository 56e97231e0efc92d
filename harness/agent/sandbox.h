// A host of our own for the programs under test.
#pragma once

#include <string>
#include <vector>

namespace box {

// Root only. Goes on in a child process that is PID 1 of a host of its own: new mount, PID, UTS,
// IPC, network and cgroup namespaces, with / shared as systemd makes it and lo up. Whatever a
// program under test does to mounts, processes, the host name, IPC, the network and cgroup v2
// affects only that host, which ends with us, even of SIGKILL. It does not see what else this
// machine does at the same time. /tmp, /var/tmp, /var/cache and /dev/shm are new and empty, except
// for what is `kept`; changes to /run and /var/lib disappear with us. The parent waits and exits
// with our exit status.
void enter_own_host(const std::vector<std::string>& kept);

// A directory of the host, and another one that lists only what has been written to it.
struct WrittenFolder {
  std::string folder;
  std::string shown_at;
  int below;  // a descriptor of the host's directory as it was, or -1
};

// None without a host of our own.
const std::vector<WrittenFolder>& written_folders();

}  // namespace box
