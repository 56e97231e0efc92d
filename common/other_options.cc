#include "common/other_options.h"

#include <algorithm>
#include <string_view>
#include <vector>

namespace box {
namespace {

struct Known {
  std::vector<std::string_view> options;
  std::string_view instead;
};

const std::vector<Known>& of_later_stages() {
  static const std::vector<Known> known = {
      {{"--rootfs"}, "02_chroot"},
      {{"--userspace", "--with"}, "03_userspace"},
      {{"--hostname", "--uptime", "--init"}, "04_namespaces"},
      {{"--uid-map", "--gid-map", "-u", "--user"}, "05_userns"},
      {{"-v", "--volume", "--tmpfs", "--read-only"}, "06_pivot_root"},
      {{"--cpus", "-m", "--memory", "--pids-limit", "--io-max", "--stats"}, "07_cgroups"},
      {{"--layer", "--image", "--entrypoint", "--keep", "--unpack-limit"}, "08a_overlayfs"},
      {{"--cap-add", "--cap-drop", "--no-new-privs", "--seccomp"}, "08b_seccomp"},
      {{"--network", "-p", "--publish"}, "08c_network"},
      {{"--security-opt"}, "09_lsm"},
      {{"--shortcut"}, "10_ebpf"},
  };
  return known;
}

const std::vector<Known>& of_docker() {
  static const std::vector<Known> known = {
      {{"-d", "--detach"},
       "the container runs as long as this program does: put & at the end of the line"},
      {{"--privileged"},
       "--cap-add ALL, --seccomp unconfined and --network host each switch one layer off, in the "
       "stages that have it"},
      {{"--pid", "--ipc", "--uts", "--userns", "--cgroupns"},
       "a stage before the one that makes this namespace shares the host's: 03_userspace has none"},
      {{"--mount"}, "-v HOST:CONTAINER[:ro] shows a file or directory, --tmpfs an empty one"},
      {{"--volumes-from"}, "name each directory with -v HOST:CONTAINER"},
      {{"--device", "--device-cgroup-rule", "--gpus"},
       "a container gets no device of the host: volumes are mounted with nodev"},
      {{"--shm-size"}, "--tmpfs /dev/shm:size=SIZE"},
      {{"--add-host"}, "write a hosts file, and -v FILE:/etc/hosts:ro"},
      {{"--dns", "--dns-search", "--dns-option", "--dns-opt"},
       "write a resolv.conf(5), and -v FILE:/etc/resolv.conf:ro"},
      {{"--group-add"}, "-u NAME gives the command the groups that /etc/group lists"},
      {{"--ulimit"}, "the container inherits its starter's limits: ulimit -n 64 before it"},
      {{"--cpuset-cpus"}, "the container inherits its starter's CPUs: taskset -c LIST before it"},
      {{"-c", "--cpu-shares", "--cpu-period", "--cpu-quota"}, "--cpus N limits the CPU time"},
      {{"--memory-swap", "--memory-swappiness", "--memory-reservation", "--oom-kill-disable",
        "--oom-score-adj", "--kernel-memory"},
       "--memory SIZE is the only limit of memory: no swap, and the kernel kills above it"},
      {{"--blkio-weight", "--device-read-bps", "--device-write-bps", "--device-read-iops",
        "--device-write-iops"},
       "--io-max DEV:KEY=VALUE limits a disk"},
      {{"--cgroup-parent"},
       "the container's cgroup is made in its starter's: enter the parent before it"},
      {{"--sysctl"}, "the container sees /proc/sys read-only"},
      {{"-P", "--publish-all", "--expose"}, "-p CONTAINER for each port"},
      {{"--net"}, "--network, which 08c_network and later stages have"},
      {{"--link", "--network-alias", "--net-alias", "--ip", "--ip6", "--mac-address"},
       "the bridge chooses the address, and containers find each other by --hostname"},
      {{"--platform", "--pull"}, "skopeo copy chooses which image is fetched; --image uses it"},
      {{"--restart"}, "a supervisor restarts it, such as systemd-run -p Restart=always"},
      {{"--stop-signal", "--stop-timeout"},
       "kill -SIGNAL this program: it passes the signal on to the container"},
      {{"-a", "--attach", "--log-driver", "--log-opt", "--sig-proxy", "--detach-keys"},
       "the container has its starter's stdin, stdout and stderr: use < and >"},
      {{"--cidfile", "--pidfile"}, "the shell's $! is the number of this program"},
      {{"-l", "--label", "--label-file", "--annotation"},
       "nothing here reads a label: leave it out"},
      {{"--health-cmd", "--health-interval", "--health-retries", "--health-timeout",
        "--health-start-period", "--no-healthcheck"},
       "nothing here asks how the container is: leave it out"},
      {{"--runtime"}, "podman --runtime 11_oci uses these layers in place of runc"},
  };
  return known;
}

}  // namespace

std::string instead_of(const std::string& option) {
  // Of several short ones in a word, as in -dit, the first is the unknown one.
  const bool is_short = option.size() > 1 && option[1] != '-';
  const std::string name = option.substr(0, is_short ? 2 : option.find('='));
  const auto has_it = [&name](const Known& known) {
    return std::find(known.options.begin(), known.options.end(), name) != known.options.end();
  };
  for (const Known& known : of_later_stages()) {
    if (has_it(known)) return std::string(known.instead) + " and later stages have it";
  }
  for (const Known& known : of_docker()) {
    if (has_it(known)) return std::string(known.instead);
  }
  return "";
}

}  // namespace box
