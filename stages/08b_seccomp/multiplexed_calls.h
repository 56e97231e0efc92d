// socketcall(2) and ipc(2): one number for many calls, on processors as old as i386.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace box {

// How a program may also make the call `name`: by call `number`, with `index` as its first
// argument. The arguments proper are then in memory, where no filter can look.
struct MultiplexedCall {
  std::uint32_t number;
  std::uint32_t index;
};

[[nodiscard]] std::optional<MultiplexedCall> multiplexed(std::uint32_t architecture,
                                                         const std::string& name);

}  // namespace box
