#include "stages/08c_network/address_pool.h"

#include <fmt/format.h>

#include <sstream>

namespace box {
namespace {

constexpr const char* kLinkPrefix = "hood";

// The container's number if this is a link of a container, else 0.
int number_of(const Link& link) {
  for (int number = 1; number <= kMostContainers; ++number) {
    if (link.name == link_name(number)) return number;
  }
  return 0;
}

}  // namespace

std::string link_name(int number) { return kLinkPrefix + std::to_string(number); }

std::string address_of(int number) { return fmt::format("10.79.0.{}", number + 1); }

std::string mac_address_of(int number) {
  // The 2 in the first byte: administered locally, by us, see IEEE 802.
  return {'\x02', '\x4f', 10, 79, 0, static_cast<char>(number + 1)};
}

std::string alias_of(const Container& container) {
  std::string alias = container.name;
  for (const PublishedPort& port : container.ports) alias += " " + text_of(port);
  return alias;
}

std::vector<Container> containers_in(const std::vector<Link>& links) {
  int bridge = -1;
  for (const Link& link : links) {
    if (link.name == kBridge) bridge = link.index;
  }
  std::vector<Container> containers;
  for (const Link& link : links) {
    Container container;
    container.number = number_of(link);
    if (link.master != bridge || container.number == 0) continue;
    std::istringstream words(link.alias);
    words >> container.name;
    for (std::string port; words >> port;) container.ports.push_back(parse_published_port(port));
    containers.push_back(container);
  }
  return containers;
}

std::string hosts_file(const std::vector<Container>& containers) {
  std::string text =
      "127.0.0.1\tlocalhost\n"
      "::1\tlocalhost ip6-localhost ip6-loopback\n";
  for (const Container& container : containers) {
    text += fmt::format("{}\t{}\n", address_of(container.number), container.name);
  }
  return text;
}

}  // namespace box
