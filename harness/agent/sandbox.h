// A host of our own for the programs under test.
#pragma once

#include <string>
#include <vector>

namespace box {

// Root only. Goes on in a child process that is PID 1 of a host of its own: new mount, PID, UTS,
// IPC, network and cgroup namespaces, with / shared as systemd makes it and lo up. Whatever a
// program under test does to mounts, processes, the host name, IPC, the network and cgroup v2, it
// does there, and it ends with us, even of SIGKILL. What else this machine does at the same time is
// not seen there. /tmp, /var/tmp, /var/cache and /dev/shm are new and empty, but for what is
// `kept`; what is written to /run and /var/lib is gone with us. The parent waits and leaves with
// our exit status.
void enter_own_host(const std::vector<std::string>& kept);

// A folder of the host, and where what has been written to it can be listed without the rest.
struct WrittenFolder {
  std::string folder;
  std::string shown_at;
};

// None without a host of our own.
const std::vector<WrittenFolder>& written_folders();

}  // namespace box
