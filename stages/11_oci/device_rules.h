// Stage 11: which devices a container may use, see "Device Controller" in the kernel's
// cgroup-v2.rst.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace box {

inline constexpr std::uint64_t kMostDeviceNumber = 0xfffff;  // of 32 bits, see makedev(3)

struct DeviceRule {
  bool allow = false;
  char type = 'a';  // 'c', 'b', or 'a' for both
  std::optional<std::uint32_t> major;
  std::optional<std::uint32_t> minor;
  bool read = false;
  bool write = false;
  bool make = false;  // mknod(2)

  bool operator==(const DeviceRule& other) const = default;
};

// What every container has, whatever its config says, because the specification requires these
// devices: they come after the rules of the config.
[[nodiscard]] std::vector<DeviceRule> default_device_rules();

// The program that the kernel runs at each open(2) and mknod(2) of a device: the last rule that
// matches decides; without one the device may not be used.
[[nodiscard]] std::vector<bpf_insn> device_program(const std::vector<DeviceRule>& rules);

// Makes the kernel run it for the processes of the cgroup at `path`, until the cgroup is removed.
void attach_device_program(const std::string& path, const std::vector<DeviceRule>& rules);

}  // namespace box
