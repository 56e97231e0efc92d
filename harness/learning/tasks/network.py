"""Stage 08c: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task

NETWORK = "a network namespace"
BRIDGE = "a bridge with NAT"

TASK = Task(
    stage="08c",
    goal="Give the container a network of its own, and ways out of it and into it that you choose.",
    examples=(
        Example("08c_network ls /sys/class/net", "lo", NETWORK),
        Example("08c_network sh -c 'ping -c 1 127.0.0.1 >/dev/null; echo $?'", "0", NETWORK),
        Example("08c_network --network bridge sh -c 'ip -4 -o addr show eth0 | grep -o 10.79.0.'",
                "10.79.0.", BRIDGE),
        Example("08c_network --network nonsense true 2>/dev/null; echo $?", "125"),
        Example("08c_network --network none -p 80 true 2>/dev/null; echo $?", "125"),
    ),
    toolkit=(
        ("make_veth_pair(…), add_address(…), bring_up(…)", "links, by netlink: above each in"
         " links.h"
         " is the ip(8) command that does the same"),
        ("in_network_of(child, [] { … })", "runs in the network namespace of a process"),
        ("ruleset(…), load_ruleset(text)", "rules of nftables, loaded by nft(8) in one"
         " transaction"),
        ("BridgeLock lock(…)", "one start at a time changes the bridge"),
    ),
    todos=(
        Todo("network.cc", "Network::namespaces", 1,
             "CLONE_NEWNET, unless it is --network host.",
             "return 0;"),
        Todo("network.cc", "bring_up_loopback", 1,
             "ip link set lo up: an ioctl(2), SIOCSIFFLAGS with IFF_UP, on any socket of the new"
             " namespace. See netdevice(7)."),
        Todo("network.cc", "Network::take_from_host", 1,
             "stage 06's take_from_host() with a new sysfs, which shows the links of the network"
             " namespace in which it is mounted. Then (milestone 2): at the bridge hosts_file_ is a"
             " read-only volume at /etc/hosts; with --network host the host's /etc/hosts and"
             " /etc/resolv.conf are.",
             "return box::take_from_host(mounts, shown);"),
        Todo("bridge.cc", "make_bridge", 2,
             "once the name and the pool are free (two checks are there): the link kBridge, and the"
             " address_of(0) on it. Then (milestone 3): no IPv6, no packet from a source that is"
             " elsewhere."),
        Todo("bridge.cc", "connect_to_bridge", 2,
             "a veth pair: one end on the host, at the bridge, the other one eth0 of `child`. The"
             " number is the first of 1 to kMostContainers whose link_name() is not taken; it is"
             " returned.",
             "return 0;"),
        Todo("bridge.cc", "set_up_inside", 2,
             "in the container's namespace: eth0 up, with the address_of(number), and a default"
             " route by way of address_of(0)."),
        Todo("bridge.cc", "update_all", 2,
             "write_hosts_file(), load the ruleset() of all containers_at_bridge(), switch"
             " forwarding on, bring the bridge up. In which order is there never a packet that no"
             " rule has seen? What is switched on is remembered first (milestone 4)."),
        Todo("network.cc", "Network::connect", 2,
             "by options_.kind: join_bridge() with sockets_, or start_helper(). What they return"
             " tidies up when it goes: keep it."),
        Todo("bridge.cc", "remove_bridge", 4,
             "after the last container: forwarding as it was, then the link, the rules, the hosts"
             " file; each though another has failed (Steps)."),
        Todo("user_mode_network.cc", "pasta_command", 4,
             "the words of pasta(1) for the namespaces of `child`. What behind the gateway's"
             " address"
             " must not be reached?",
             "throw Failure(\"pasta_command() is not written yet\");"),
    ),
    milestones=(
        Milestone(CORE, "A network with nothing but lo", (
            "own_network_namespace", "loopback_works", "links_are_own",
            "hosts_loopback_is_refused", "abstract_sockets_are_refused")),
        Milestone(CORE, "A bridge, and a port that leads in", (
            "published_port_is_reached", "containers_meet_by_name")),
        Milestone(THEN, "The host stays closed", (
            "no_packet_to_hosts_loopback", "loopback_is_shut_without_rules",
            "host_speaks_no_ipv6_with_it")),
        Milestone(ROBUST, "As it was before, and other ways out"),
    ),
)
