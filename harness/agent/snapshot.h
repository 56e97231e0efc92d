// The state of a host, to be compared before and after a test.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace box {

// "mounts", "cgroups", "links", "nft", "processes", "files", "hostname", "sysvipc", "posixipc":
// each a list of lines that stays the same while the host does.
using Snapshot = std::map<std::string, std::vector<std::string>>;

// `folders` are those whose files are listed.
[[nodiscard]] Snapshot take_snapshot(const std::vector<std::string>& folders);

// The mounts of the namespace that `process` is in, as seen from that namespace's root, which a
// process in a chroot does not see: lines as in proc_pid_mountinfo(5). Throws Failure.
[[nodiscard]] std::string mounts_of(int process);

}  // namespace box
