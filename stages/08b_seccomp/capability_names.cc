#include "stages/08b_seccomp/capability_names.h"

#include <linux/capability.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <numeric>
#include <vector>

namespace box {
namespace {

// In the order of their numbers, see <linux/capability.h> and capabilities(7).
constexpr const char* kNames[] = {"CHOWN",
                                  "DAC_OVERRIDE",
                                  "DAC_READ_SEARCH",
                                  "FOWNER",
                                  "FSETID",
                                  "KILL",
                                  "SETGID",
                                  "SETUID",
                                  "SETPCAP",
                                  "LINUX_IMMUTABLE",
                                  "NET_BIND_SERVICE",
                                  "NET_BROADCAST",
                                  "NET_ADMIN",
                                  "NET_RAW",
                                  "IPC_LOCK",
                                  "IPC_OWNER",
                                  "SYS_MODULE",
                                  "SYS_RAWIO",
                                  "SYS_CHROOT",
                                  "SYS_PTRACE",
                                  "SYS_PACCT",
                                  "SYS_ADMIN",
                                  "SYS_BOOT",
                                  "SYS_NICE",
                                  "SYS_RESOURCE",
                                  "SYS_TIME",
                                  "SYS_TTY_CONFIG",
                                  "MKNOD",
                                  "LEASE",
                                  "AUDIT_WRITE",
                                  "AUDIT_CONTROL",
                                  "SETFCAP",
                                  "MAC_OVERRIDE",
                                  "MAC_ADMIN",
                                  "SYSLOG",
                                  "WAKE_ALARM",
                                  "BLOCK_SUSPEND",
                                  "AUDIT_READ",
                                  "PERFMON",
                                  "BPF",
                                  "CHECKPOINT_RESTORE"};
static_assert(std::size(kNames) == CAP_LAST_CAP + 1);

// The capabilities that Docker grants, and what root of a container needs them for. Each applies
// only to the container's own files, processes and namespaces: those of its user namespace.
// https://github.com/moby/moby/blob/master/oci/caps/defaults.go
constexpr int kDefault[] = {
    CAP_CHOWN,             // package managers give files their owners
    CAP_DAC_OVERRIDE,      // root reads and writes the files of the container's other users
    CAP_FOWNER,            // chmod, and deleting from sticky directories, for these files
    CAP_FSETID,            // chmod g+s, and set-ID bits that stay when root writes the file
    CAP_KILL,              // an init ends processes of other users
    CAP_SETGID,            // servers start as root and become an ordinary user:
    CAP_SETUID,            // their group, and their user
    CAP_SETPCAP,           // programs that give up capabilities of their own
    CAP_NET_BIND_SERVICE,  // ports below 1024
    CAP_NET_RAW,           // ping; it also allows forging packets, so drop it first
    CAP_SYS_CHROOT,        // sshd and others that lock themselves in; after pivot_root harmless
    CAP_MKNOD,             // FIFOs need none, and devices need more than this
    CAP_AUDIT_WRITE,       // login and sshd write to the audit log
    CAP_SETFCAP,           // package managers give programs file capabilities
};

// How many letters to insert, delete or replace, after Levenshtein.
std::size_t distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), 0);
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, replaced});
    }
  }
  return row.back();
}

std::string bare_name(std::string name) {
  for (char& letter : name) {
    letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
  }
  return name.rfind("CAP_", 0) == 0 ? name.substr(4) : name;
}

}  // namespace

std::optional<int> capability_called(const std::string& name) {
  const auto* found = std::find(std::begin(kNames), std::end(kNames), bare_name(name));
  if (found == std::end(kNames)) return std::nullopt;
  return static_cast<int>(found - kNames);
}

std::string names_of_capabilities(CapabilitySet set) {
  std::string names;
  for (int capability = 0; capability <= CAP_LAST_CAP; ++capability) {
    if (contains(set, capability))
      names += (names.empty() ? "" : ", ") + std::string(kNames[capability]);
  }
  return names.empty() ? "none" : names;
}

CapabilitySet all_capabilities() { return bit_of(CAP_LAST_CAP + 1) - 1; }

CapabilitySet default_capabilities() {
  CapabilitySet set = 0;
  for (const int capability : kDefault) set |= bit_of(capability);
  return set;
}

std::string nearest_capability(const std::string& name) {
  const std::string bare = bare_name(name);
  const auto* nearest = std::min_element(
      std::begin(kNames), std::end(kNames),
      [&](const char* a, const char* b) { return distance(bare, a) < distance(bare, b); });
  return distance(bare, *nearest) <= 2 ? *nearest : "";
}

}  // namespace box
