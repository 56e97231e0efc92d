// Which container has which address and name. This is stored only in the kernel's list of links.
//
// The container behind the link hood7 has the address 10.79.0.8, and the link's alias contains its
// name and its published ports. The kernel never gives two links the same name, and removes the
// link when the container's network namespace ends, even after SIGKILL: so no address is leased
// twice, and none stays leased.
#pragma once

#include <string>
#include <vector>

#include "stages/08c_network/netlink.h"
#include "stages/08c_network/published_port.h"

namespace box {

inline constexpr const char* kBridge = "hood0";
inline constexpr const char* kSubnet = "10.79.0.0/24";
inline constexpr int kPrefixLength = 24;
inline constexpr int kMostContainers = 253;        // .0, .1 and .255 are not for containers
inline constexpr std::size_t kLongestAlias = 255;  // IFALIASZ of the kernel, less the 0

struct Container {
  int number = 0;  // from 1 to kMostContainers
  int link = 0;    // the number of its link on the host, which the kernel never reuses
  std::string name;
  std::vector<PublishedPort> ports;
};

[[nodiscard]] std::string link_name(int number);
[[nodiscard]] std::string address_of(int number);  // 0: the bridge's
// An Ethernet address that is derived from the IP address, as Docker's are: a neighbour with an old
// entry for the IP address in its ARP cache still reaches it, see arp(7).
[[nodiscard]] std::string mac_address_of(int number);  // six bytes
// The Ethernet address of the container's link on the host. Links have these from their birth on,
// so we recognize ours by them: other links may have similar names.
[[nodiscard]] std::string outer_mac_address_of(int number);

// Our bridge among these links, or nullptr.
[[nodiscard]] const Link* find_bridge(const std::vector<Link>& links);

[[nodiscard]] std::string alias_of(const Container& container);

// The containers that have a link at the bridge, from the links' aliases: one without an alias has
// no name.
[[nodiscard]] std::vector<Container> containers_in(const std::vector<Link>& links);

// The text of a hosts(5) file for all of them.
[[nodiscard]] std::string hosts_file(const std::vector<Container>& containers);

}  // namespace box
