#include "stages/08c_network/address_pool.h"

#include <fmt/format.h>

#include <sstream>

namespace box {
namespace {

constexpr const char* kLinkPrefix = "hood";

// Returns the container's number if this is a link of a container, otherwise 0.
int number_of(const Link& link) {
  for (int number = 1; number <= kMostContainers; ++number) {
    if (link.name == link_name(number)) {
      return link.address == outer_mac_address_of(number) ? number : 0;
    }
  }
  return 0;
}

}  // namespace

std::string link_name(int number) { return kLinkPrefix + std::to_string(number); }

std::string address_of(int number) { return fmt::format("10.79.0.{}", number + 1); }

std::string mac_address_of(int number) {
  // The 2 in the first byte means "locally administered", see IEEE 802.
  return {'\x02', '\x4f', 10, 79, 0, static_cast<char>(number + 1)};
}

std::string outer_mac_address_of(int number) {
  return {'\x02', '\x4f', 10, 79, 1, static_cast<char>(number + 1)};
}

const Link* find_bridge(const std::vector<Link>& links) {
  for (const Link& link : links) {
    const bool is_ours = link.kind == "bridge" && link.address == mac_address_of(0);
    if (link.name == kBridge && is_ours) return &link;
  }
  return nullptr;
}

std::string alias_of(const Container& container) {
  return container.name + (container.ports.empty() ? "" : " ") + text_of(container.ports);
}

std::vector<Container> containers_in(const std::vector<Link>& links) {
  std::vector<Container> containers;
  const Link* bridge = find_bridge(links);
  if (bridge == nullptr) return containers;
  for (const Link& link : links) {
    Container container;
    container.number = number_of(link);
    container.link = link.index;
    if (link.master != bridge->index || container.number == 0) continue;
    std::istringstream words(link.alias);
    words >> container.name;
    for (std::string word; words >> word;) {
      const auto ports = parse_published_ports(word);
      container.ports.insert(container.ports.end(), ports.begin(), ports.end());
    }
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
