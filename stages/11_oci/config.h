// Stage 11: config.json of a bundle, see
// https://github.com/opencontainers/runtime-spec/blob/v1.2.0/config.md.
#pragma once

#include <sys/ioctl.h>
#include <sys/types.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "stages/05_userns/id_range.h"
#include "stages/08b_seccomp/capabilities.h"
#include "stages/11_oci/device_rules.h"
#include "stages/11_oci/mount_options.h"

namespace box {

// A program of the caller's that runs at one moment of a container's life.
struct Hook {
  std::string path;
  std::vector<std::string> args;
  std::vector<std::string> environment;
  std::optional<int> timeout;  // seconds
};

struct Hooks {
  std::vector<Hook> prestart;
  std::vector<Hook> create_runtime;
  std::vector<Hook> create_container;
  std::vector<Hook> start_container;
  std::vector<Hook> poststart;
  std::vector<Hook> poststop;
};

struct Rlimit {
  int resource = 0;
  std::uint64_t soft = 0;
  std::uint64_t hard = 0;
  std::string name;
};

// How the kernel schedules a process: the first version of the sched_attr of sched_setattr(2).
// Older versions of the kernel's header cannot be included beside <sched.h>.
struct Scheduling {
  std::uint32_t size = 48;
  std::uint32_t policy = 0;  // SCHED_*
  std::uint64_t flags = 0;   // SCHED_FLAG_*
  std::int32_t nice = 0;
  std::uint32_t priority = 0;  // of SCHED_FIFO and SCHED_RR
  std::uint64_t runtime = 0;   // of SCHED_DEADLINE, as the others, in ns
  std::uint64_t deadline = 0;
  std::uint64_t period = 0;
};
static_assert(sizeof(Scheduling) == 48);

// A list of CPUs as cpuset(7) has it, and as sched_setaffinity(2) has it.
struct CpuList {
  std::string text;                 // "0-3,7"; "": not given
  std::vector<unsigned long> mask;  // a bit for each
};

// Where what `exec` starts may run. It does not apply to the container's first process.
struct ExecAffinity {
  CpuList initial_cpus;  // until it is in the container's cgroup: for the runtime, too
  CpuList final_cpus;    // from then on
};

// What runs in a container: of the config, or of exec --process.
struct ConfigProcess {
  bool terminal = false;
  winsize size = {};  // of the terminal; 0: not given
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
  mode_t umask = 022;
  std::vector<std::string> args;
  std::vector<std::string> environment;
  std::string cwd;
  ProcessCapabilities capabilities;
  std::vector<Rlimit> rlimits;
  bool no_new_privs = false;
  std::string apparmor;
  std::string selinux_label;
  std::optional<int> oom_score_adj;
  std::optional<int> io_priority;  // as ioprio_set(2) has it
  std::optional<Scheduling> scheduling;
  ExecAffinity exec_affinity;
};

// A namespace that exists, to be joined.
struct NamespaceToJoin {
  int flag = 0;  // CLONE_NEW*
  std::string path;
};

struct ConfigDevice {
  std::string path;
  mode_t type = 0;  // S_IFCHR, S_IFBLK, S_IFIFO
  unsigned major = 0;
  unsigned minor = 0;
  mode_t mode = 0666;
  uid_t uid = 0;
  gid_t gid = 0;
};

// What is written to one file of the container's cgroup.
struct ControlFile {
  std::string name;
  std::string value;
};

struct Resources {
  std::vector<ControlFile> files;
  std::vector<DeviceRule> devices;
  // The controllers that the files need: "cpu", "memory".
  [[nodiscard]] std::vector<std::string> controllers() const;
};

struct Config {
  std::string version;
  std::string rootfs;  // absolute
  bool read_only = false;
  std::string hostname;
  std::string domainname;
  std::optional<ConfigProcess> process;
  std::vector<ConfigMount> mounts;
  Hooks hooks;
  std::map<std::string, std::string> annotations;

  std::uint64_t new_namespaces = 0;  // CLONE_NEW*
  std::vector<NamespaceToJoin> joined;
  // Those of which it changes a setting: what it joins for that must not be the host's.
  std::uint64_t changed_namespaces = 0;
  // Whether it is a new one, or joined.
  [[nodiscard]] bool has_namespace(std::uint64_t flag) const;
  IdMap uid_map;
  IdMap gid_map;
  std::vector<ConfigDevice> devices;
  std::string cgroups_path;
  Resources resources;
  std::map<std::string, std::string> sysctl;
  std::string seccomp;                  // JSON, as the profiles of stage 08b; "": none
  std::string seccomp_listener;         // the path of a supervisor's socket; "": none
  std::string seccomp_metadata;         // what that is told
  unsigned seccomp_listener_flags = 0;  // of seccomp(2)
  unsigned long root_propagation = 0;
  std::string mount_label;  // SELinux: of the files in what is mounted for the container
  std::vector<std::string> masked_paths;
  std::vector<std::string> read_only_paths;
  std::optional<unsigned long> personality;
  std::vector<std::string> time_offsets;  // lines of /proc/PID/timens_offsets

  // Properties that the specification of this version does not have. It requires that a runtime
  // ignores them.
  std::vector<std::string> unknown;
};

// Reads the text of a config whose bundle is the directory `bundle`. Throws Failure, which names
// the property, for everything that is missing, wrong, or cannot be done: nothing has been changed
// then.
[[nodiscard]] Config parse_config(const std::string& text, const std::string& bundle);

// Checks and completes what depends on the maps, which are known only later for a config that joins
// a user namespace: see take_ids_of_joined().
void use_maps(Config& config);

// Reads the text of a process, as exec --process has it.
[[nodiscard]] ConfigProcess parse_process(const std::string& text);

// Reads resources, as update --resources has them.
[[nodiscard]] Resources parse_resources(const std::string& text);

}  // namespace box
