// Links, addresses and routes of the bridge and its containers, as ip(8) makes them: the comment of
// each function is its command.
#pragma once

#include <sys/types.h>

#include <string>

#include "stages/08c_network/netlink.h"

namespace box {

// ip link add NAME address ADDRESS type bridge. It is still down.
void make_bridge_link(RouteSocket& socket, const std::string& name, const std::string& address);

// ip link add NAME address ADDRESS master BRIDGE type veth peer name eth0 address PEER netns CHILD
//
// The other end is created in the container, and both are removed with its namespace. Both are
// still down. Returns -1, with EEXIST in errno, if there is a link NAME.
[[nodiscard]] int make_veth_pair(RouteSocket& socket, const std::string& name,
                                 const std::string& address, int bridge,
                                 const std::string& peer_address, pid_t child);

// ip link set LINK up
void bring_up(RouteSocket& socket, int link, const std::string& name);

// ip link set LINK alias TEXT
void set_alias(RouteSocket& socket, int link, const std::string& text);

// ip link set LINK type bridge_slave hairpin on
//
// If net.bridge.bridge-nf-call-iptables is on, the bridge itself applies the rules. A packet that
// they send back to the container that it came from, addressed to that container's own published
// port, then has to leave by the link by which it came in.
void turn_hairpin_on(RouteSocket& socket, int link);

// ip link delete LINK, by its number, because another link may have its name by now. It is not an
// error if the link does not exist any more.
void remove_link(RouteSocket& socket, int link);

// ip address add ADDRESS/LENGTH dev LINK
void add_address(RouteSocket& socket, int link, const std::string& address, int prefix_length);

// ip route add default via GATEWAY
void add_default_route(RouteSocket& socket, const std::string& gateway);

}  // namespace box
