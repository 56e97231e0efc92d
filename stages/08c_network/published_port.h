// -p/--publish: a port of the host leads to one of the container.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/unique_fd.h"

namespace box {

struct PublishedPort {
  std::uint16_t host = 0;
  std::uint16_t container = 0;
  bool udp = false;
};

// Reads "HOST:CONTAINER", with "/tcp" or "/udp" after it or not. Throws Failure.
[[nodiscard]] PublishedPort parse_published_port(const std::string& text);

// "8080:80", "5353:53/udp"
[[nodiscard]] std::string text_of(const PublishedPort& port);

// In the parent: takes the ports of the host, on all its IPv4 addresses, so that nobody else gets
// them. They are free again when the sockets are closed, with our process at the latest. Throws
// Failure if one is taken, with a hint.
[[nodiscard]] std::vector<UniqueFd> reserve(const std::vector<PublishedPort>& ports);

}  // namespace box
