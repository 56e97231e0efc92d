// -p/--publish: connections to a port of the host reach a port of the container.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/unique_fd.h"

namespace box {

struct PublishedPort {
  std::uint16_t host = 0;  // 0: the kernel chooses one that is free
  std::uint16_t container = 0;
  bool udp = false;
  std::string address = {};     // IPv4, of the host; "": all of them
  std::uint16_t last_host = 0;  // if it is not 0: the first free one from `host` to this
};

// Reads [[ADDRESS:][HOST]:]CONTAINER[/tcp|/udp], where HOST and CONTAINER may be ranges such as
// 8000-8010: all the ports that this means, as with docker run. Throws Failure.
[[nodiscard]] std::vector<PublishedPort> parse_published_ports(const std::string& text);

// "8080:80", "127.0.0.1:5353:53/udp"
[[nodiscard]] std::string text_of(const PublishedPort& port);

// "8000-8010:80-90 5353:53/udp": all of them as parse_published_ports() reads them, separated by
// spaces.
[[nodiscard]] std::string text_of(const std::vector<PublishedPort>& ports);

// Whether the two cannot be published at the same time.
[[nodiscard]] bool collide(const PublishedPort& one, const PublishedPort& other);

// In the parent: binds the ports of the host, so that no other process gets them, and fills in
// those that the kernel chose. They are free again when the sockets, one for each port, are closed.
// Throws Failure if one is taken, with a hint.
[[nodiscard]] std::vector<UniqueFd> reserve(std::vector<PublishedPort>& ports);

}  // namespace box
