// The names of the capabilities, and the default ones of a container.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace box {

using CapabilitySet = std::uint64_t;  // bit n is capability n of <linux/capability.h>

[[nodiscard]] constexpr CapabilitySet bit_of(int capability) {
  return CapabilitySet{1} << capability;
}
[[nodiscard]] constexpr bool contains(CapabilitySet set, int capability) {
  return (set & bit_of(capability)) != 0;
}

// With or without "CAP_", in upper or lower case. Returns nullopt if there is no such capability.
[[nodiscard]] std::optional<int> capability_called(const std::string& name);

// "CHOWN, KILL": without "CAP_", as docker run writes them.
[[nodiscard]] std::string names_of_capabilities(CapabilitySet set);

// Every capability that this toolkit knows.
[[nodiscard]] CapabilitySet all_capabilities();

// What a container has unless --cap-add and --cap-drop say otherwise: Docker's fourteen.
[[nodiscard]] CapabilitySet default_capabilities();

// Returns the capability name that is most similar to the unknown `name`, or "" if none is similar.
[[nodiscard]] std::string nearest_capability(const std::string& name);

}  // namespace box
