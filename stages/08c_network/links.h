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
// The other end is born in the container, and with its namespace both go. Both are still down.
// Returns -1, with EEXIST in errno, if there is a link NAME.
[[nodiscard]] int make_veth_pair(RouteSocket& socket, const std::string& name,
                                 const std::string& address, int bridge,
                                 const std::string& peer_address, pid_t child);

// ip link set LINK up
void bring_up(RouteSocket& socket, int link, const std::string& name);

// ip link set LINK alias TEXT
void set_alias(RouteSocket& socket, int link, const std::string& text);

// ip link set LINK type bridge_slave hairpin on
//
// Where net.bridge.bridge-nf-call-iptables is on, the bridge itself applies the rules. What they
// send back to the container from which it came, its own published port, then has to leave by the
// link by which it came in.
void turn_hairpin_on(RouteSocket& socket, int link);

// ip link delete LINK, by its number: its name may be another link's by now. That it has gone by
// itself is no error.
void remove_link(RouteSocket& socket, int link);

// ip address add ADDRESS/LENGTH dev LINK
void add_address(RouteSocket& socket, int link, const std::string& address, int prefix_length);

// ip route add default via GATEWAY
void add_default_route(RouteSocket& socket, const std::string& gateway);

}  // namespace box
