#include "stages/08c_network/published_port.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <fstream>
#include <string_view>

#include "common/check.h"

namespace box {
namespace {

std::uint16_t parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, port);
  if (error != std::errc() || stop != end || port == 0) {
    throw Failure(fmt::format("'{}' is no port: they are 1 to 65535", text));
  }
  return port;
}

// Below it a port is for who has CAP_NET_BIND_SERVICE, see ip(7).
int first_unprivileged_port() {
  int port = 1024;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> port;
  return port;
}

UniqueFd reserve(const PublishedPort& port) {
  UniqueFd fd(check_quietly(
      socket(AF_INET, (port.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0), "socket()"));
  // Else connections of an earlier server, which wait out their TIME_WAIT, would keep the port. But
  // then two sockets may be bound to it, unless one listens, see socket(7).
  const int on = 1;
  if (!port.udp) {
    check_quietly(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt()");
  }
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port.host);
  int result = bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (result == 0 && !port.udp) result = listen(fd.get(), 0);
  if (result == 0) return fd;

  const int error = errno;
  std::string hint;
  if (error == EADDRINUSE) {
    hint = fmt::format("who has it:  ss --listening --numeric --processes --{} 'sport = {}'",
                       port.udp ? "udp" : "tcp", port.host);
  } else if (error == EACCES && port.host < first_unprivileged_port()) {
    hint = fmt::format(
        "ports below {} are root's: publish another, as in --publish {}", first_unprivileged_port(),
        text_of({static_cast<std::uint16_t>(8000 + port.host % 1000), port.container, port.udp}));
  }
  throw Failure(error, fmt::format("--publish {}: port {} of the host", text_of(port), port.host),
                kExitSetupFailed, hint);
}

}  // namespace

PublishedPort parse_published_port(const std::string& text) {
  const auto colon = text.find(':');
  const auto slash = text.find('/');
  const std::string protocol = slash == std::string::npos ? "tcp" : text.substr(slash + 1);
  if (colon == std::string::npos || slash < colon || (protocol != "tcp" && protocol != "udp")) {
    throw Failure("is not HOST:CONTAINER or HOST:CONTAINER/udp, as in 8080:80");
  }
  PublishedPort port;
  port.host = parse_port(std::string_view(text).substr(0, colon));
  port.container = parse_port(std::string_view(text).substr(colon + 1, slash - colon - 1));
  port.udp = protocol == "udp";
  return port;
}

std::string text_of(const PublishedPort& port) {
  return fmt::format("{}:{}{}", port.host, port.container, port.udp ? "/udp" : "");
}

std::vector<UniqueFd> reserve(const std::vector<PublishedPort>& ports) {
  std::vector<UniqueFd> sockets;
  for (const PublishedPort& port : ports) sockets.push_back(reserve(port));
  return sockets;
}

}  // namespace box
