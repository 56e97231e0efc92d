#include "stages/08c_network/published_port.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>

#include <cerrno>
#include <fstream>
#include <string_view>

#include "common/check.h"
#include "common/parse_number.h"

namespace box {
namespace {

constexpr const char* kSyntax = "is not [[ADDRESS:]HOST:]CONTAINER[/udp], as in 8080:80";

// The ports of a container that was killed are free within moments, see Janitor::Work::stop().
constexpr int kAttempts = 30;
constexpr long kInterval = 10'000'000;  // nanoseconds

std::uint16_t parse_port(std::string_view text) {
  const std::uint16_t port = parse_number<std::uint16_t>(text).value_or(0);
  if (port == 0) throw Failure(fmt::format("'{}' is not a port number between 1 and 65535", text));
  return port;
}

struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;

  [[nodiscard]] int size() const { return last - first + 1; }
};

PortRange parse_range(std::string_view text) {
  const auto dash = text.find('-', 1);  // a first character could be a sign
  if (dash == std::string_view::npos) {
    const std::uint16_t port = parse_port(text);
    return {port, port};
  }
  const PortRange range = {parse_port(text.substr(0, dash)), parse_port(text.substr(dash + 1))};
  if (range.last < range.first) throw Failure(fmt::format("'{}' is an empty range", text));
  return range;
}

void check_address(const std::string& address) {
  in_addr binary = {};
  if (address.find(':') != std::string::npos || address.find('[') != std::string::npos) {
    throw Failure("ports are published on IPv4 addresses only");
  }
  const bool is_c_string = address.find('\0') == std::string::npos;
  if (!is_c_string || inet_pton(AF_INET, address.c_str(), &binary) != 1) {
    throw Failure(fmt::format("'{}' is not an IPv4 address", address));
  }
}

// Removes the last part of `text`, after a colon, and returns it.
std::string take_last_part(std::string& text) {
  const auto colon = text.rfind(':');
  std::string part = colon == std::string::npos ? text : text.substr(colon + 1);
  text.erase(colon == std::string::npos ? 0 : colon);
  return part;
}

// Below it a port needs CAP_NET_BIND_SERVICE, see ip(7).
int first_unprivileged_port() {
  int port = 1024;
  std::ifstream("/proc/sys/net/ipv4/ip_unprivileged_port_start") >> port;
  return port;
}

std::string reason_hint(int error, const PublishedPort& port) {
  if (error == EADDRINUSE) {
    return fmt::format(
        "see which process has it:  ss --listening --numeric --processes --{}"
        " 'sport = {}'",
        port.udp ? "udp" : "tcp", port.host);
  }
  if (error == EADDRNOTAVAIL) return "list the host's addresses:  ip -brief address";
  if (error == EACCES && port.host < first_unprivileged_port()) {
    PublishedPort other = port;
    other.host = static_cast<std::uint16_t>(8000 + port.host % 1000);
    other.last_host = 0;
    return fmt::format("only root may publish ports below {}; choose another, as in --publish {}",
                       first_unprivileged_port(), text_of(other));
  }
  return "";
}

// Returns 0, or the error.
int try_to_bind(const UniqueFd& fd, PublishedPort& port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port.host);
  if (!port.address.empty()) (void)inet_pton(AF_INET, port.address.c_str(), &address.sin_addr);
  socklen_t size = sizeof address;
  if (bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) == -1) return errno;
  if (!port.udp && listen(fd.get(), SOMAXCONN) == -1) return errno;
  check_quietly(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size),
                "getsockname()");
  port.host = ntohs(address.sin_port);
  port.last_host = 0;
  return 0;
}

UniqueFd new_socket(const PublishedPort& port) {
  const int kind = (port.udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
  UniqueFd fd(check_quietly(socket(AF_INET, kind, 0), "socket()"));
  // Otherwise connections of an earlier server that are in TIME_WAIT would keep the port in use.
  // With it two sockets may be bound to the port, unless one listens, see socket(7).
  const int on = 1;
  if (!port.udp) {
    check_quietly(setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), "setsockopt()");
  }
  return fd;
}

UniqueFd reserve(PublishedPort& port) {
  const PublishedPort wanted = port;
  int error = 0;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    const int last = wanted.last_host == 0 ? wanted.host : wanted.last_host;
    for (int host = wanted.host; host <= last; ++host) {
      UniqueFd fd = new_socket(port);
      port.host = static_cast<std::uint16_t>(host);
      error = try_to_bind(fd, port);
      if (error == 0) return fd;
    }
    if (error != EADDRINUSE) break;
    const timespec interval = {0, kInterval};
    (void)nanosleep(&interval, nullptr);
  }
  throw Failure(error, fmt::format("--publish {}: port {} of the host", text_of(wanted), port.host),
                kExitSetupFailed, reason_hint(error, port));
}

std::string range_text(int first, int count) {
  return count == 1 ? std::to_string(first) : fmt::format("{}-{}", first, first + count - 1);
}

// `count` ports in a row, of which this is the first.
std::string text_of(const PublishedPort& port, int count) {
  const std::string host = port.last_host != 0 ? fmt::format("{}-{}", port.host, port.last_host)
                           : port.host == 0    ? ""
                                               : range_text(port.host, count);
  const std::string address = port.address.empty() ? "" : port.address + ":";
  const bool any = address.empty() && host.empty();  // any port of any address is not written
  return fmt::format("{}{}{}{}{}", address, host, any ? "" : ":", range_text(port.container, count),
                     port.udp ? "/udp" : "");
}

}  // namespace

std::vector<PublishedPort> parse_published_ports(const std::string& text) {
  const auto slash = text.find('/');
  const std::string protocol = slash == std::string::npos ? "tcp" : text.substr(slash + 1);
  if (protocol != "tcp" && protocol != "udp") throw Failure(kSyntax);
  std::string rest = text.substr(0, slash);
  if (rest.empty() || rest[0] == ':') throw Failure(kSyntax);

  const bool names_host = rest.find(':') != std::string::npos;
  const PortRange container = parse_range(take_last_part(rest));
  const std::string host_text = names_host ? take_last_part(rest) : "";
  if (!rest.empty()) check_address(rest);
  const PortRange host = host_text.empty() ? PortRange{} : parse_range(host_text);
  const bool first_free = container.size() == 1 && !host_text.empty();
  if (!host_text.empty() && !first_free && host.size() != container.size()) {
    throw Failure(
        fmt::format("{} ports of the host for {} of the container", host.size(), container.size()));
  }
  std::vector<PublishedPort> ports;
  for (int i = 0; i < container.size(); ++i) {
    PublishedPort port;
    port.container = static_cast<std::uint16_t>(container.first + i);
    port.udp = protocol == "udp";
    port.address = rest == "0.0.0.0" ? "" : rest;
    if (!host_text.empty()) port.host = static_cast<std::uint16_t>(host.first + i);
    if (first_free && host.size() > 1) port.last_host = host.last;
    ports.push_back(port);
  }
  return ports;
}

std::string text_of(const PublishedPort& port) { return text_of(port, 1); }

std::string text_of(const std::vector<PublishedPort>& ports) {
  std::string text;
  for (std::size_t i = 0; i < ports.size();) {
    const PublishedPort& first = ports[i];
    int count = 1;
    for (++i; i < ports.size() && ports[i].host == first.host + count &&
              ports[i].container == first.container + count && ports[i].udp == first.udp &&
              ports[i].address == first.address;
         ++i) {
      ++count;
    }
    text += (text.empty() ? "" : " ") + text_of(first, count);
  }
  return text;
}

bool collide(const PublishedPort& one, const PublishedPort& other) {
  return one.host != 0 && one.host == other.host && one.last_host == 0 && other.last_host == 0 &&
         one.udp == other.udp &&
         (one.address.empty() || other.address.empty() || one.address == other.address);
}

std::vector<UniqueFd> reserve(std::vector<PublishedPort>& ports) {
  std::vector<UniqueFd> sockets;
  for (PublishedPort& port : ports) sockets.push_back(reserve(port));
  return sockets;
}

}  // namespace box
