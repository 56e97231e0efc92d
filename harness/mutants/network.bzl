"""Mutants of stage 08c: a network namespace, and ways out of it."""

load(":mutant.bzl", "change", "mutant")

_NETWORK = "08c_network/network.cc"
_BRIDGE = "08c_network/bridge.cc"
_RULES = "08c_network/nftables.cc"

MUTANTS = [
    mutant(
        name = "hosts_network",
        stage = "08c_network",
        caught_by = "own_network_namespace",
        why = "it works, and at once: the host's network is there",
        changes = [
            change("08c_network/main.cc", "namespaces | network.namespaces()", "namespaces"),
            change("08c_network/main.cc", "network.take_from_host(mounts, shown)", "take_from_host(mounts, shown)"),
            change(_NETWORK, "  bring_up_loopback();", ""),
        ],
        also = [
            "forwarding_is_switched_back",
            "host_speaks_no_ipv6_with_it",
            "loopback_is_shut_without_rules",
            "no_packet_to_hosts_loopback",
            "hosts_loopback_is_refused",
            "abstract_sockets_are_refused",
            "links_are_own",
            "published_port_is_reached",
            "containers_meet_by_name",
            "gateway_is_not_the_host",
            "udp_port_is_published",
            "port_is_published_at_its_address",
            "forged_source_is_dropped",
            "published_at_loopback_is_shut_outside",
            "container_is_shut_outside",
        ],
        because = "all of these belong to the network namespace, and without one the bridge" +
                  " connects the host to itself",
    ),
    mutant(
        name = "lo_stays_down",
        stage = "08c_network",
        caught_by = "loopback_works",
        why = "on a host, lo is always up",
        changes = [change(_NETWORK, "  bring_up_loopback();", "")],
    ),
    mutant(
        name = "sys_of_the_hosts_network",
        stage = "08c_network",
        caught_by = "links_are_own",
        why = "/sys was there already",
        changes = [
            change("08c_network/main.cc", "network.take_from_host(mounts, shown)", "take_from_host(mounts, shown)"),
        ],
        also = ["containers_meet_by_name"],
        because = "the scene at the bridge finds no link of its own either",
    ),
    mutant(
        name = "published_from_outside_only",
        stage = "08c_network",
        caught_by = "published_port_is_reached",
        why = "it was tried only from another machine",
        changes = [change(_BRIDGE, "proxy_->serve_until(parent, address_of(container.number), container.link);", "Work::serve(parent, note);")],
        also = ["udp_port_is_published"],
        because = "the proxy serves UDP, too",
    ),
    mutant(
        name = "loopback_open",
        stage = "08c_network",
        caught_by = "no_packet_to_hosts_loopback",
        why = "published ports work at localhost now, and the author looked no further",
        changes = [
            change(_BRIDGE, "set_ipv4(kBridge, \"rp_filter\", \"1\");", "set_ipv4(kBridge, \"route_localnet\", \"1\");"),
            change(_RULES, "    iifname \"{bridge}\" ip daddr 127.0.0.0/8 drop\n", ""),
        ],
        also = ["loopback_is_shut_without_rules"],
        because = "a port that is open with the rules is open without them",
    ),
    mutant(
        name = "hosts_file_replaced",
        stage = "08c_network",
        caught_by = "containers_meet_by_name",
        why = "to write a new file and rename it is the safe way to replace a file; but a mount" +
              " keeps the old one",
        changes = [change(_BRIDGE, "  const UniqueFd file(check_quietly(\n      open(path.c_str()", "  (void)unlink(path.c_str());\n  const UniqueFd file(check_quietly(\n      open(path.c_str()")],
    ),
    mutant(
        name = "rules_left",
        stage = "08c_network",
        caught_by = "nothing_is_left",
        why = "the links are gone, so the rules seem harmless",
        changes = [change(_BRIDGE, "remove_ruleset(kernel_has_ipv6());", "")],
    ),
    mutant(
        name = "bridge_left",
        stage = "08c_network",
        caught_by = "nothing_is_left",
        why = "the veth pair disappears by itself, and the author did not think of other links",
        changes = [change(_BRIDGE, "remove_link(host, bridge->index);", "")],
        also = ["forged_source_is_dropped"],
        because = "the next start finds a bridge that has no container, and refuses it",
    ),
    mutant(
        name = "janitor_asleep",
        stage = "08c_network",
        caught_by = "nothing_is_left",
        why = "the kernel removes a namespace's links, so there seems to be nothing left to do",
        changes = [change(_BRIDGE, "leave_bridge(container_of(note).link);", "(void)note;")],
        also = ["forwarding_is_switched_back"],
        because = "that is the janitor's work, too",
    ),
    mutant(
        name = "pasta_maps_the_gateway",
        stage = "08c_network",
        caught_by = "gateway_is_not_the_host",
        why = "it is what pasta does by default",
        changes = [change("08c_network/user_mode_network.cc", "\"--no-map-gw\", ", "")],
    ),
    mutant(
        name = "rules_instead_of_a_proxy",
        stage = "08c_network",
        caught_by = "loopback_is_shut_without_rules",
        why = "the rule that keeps the packets out is there, and has been tried",
        changes = [change(_BRIDGE, "set_ipv4(kBridge, \"rp_filter\", \"1\");", "set_ipv4(kBridge, \"route_localnet\", \"1\");")],
    ),
    mutant(
        name = "bridge_speaks_ipv6",
        stage = "08c_network",
        caught_by = "host_speaks_no_ipv6_with_it",
        why = "no address was given to it, so it seems to have none",
        changes = [change(_BRIDGE, "  set_ipv6(kBridge, \"disable_ipv6\", \"1\");", "")],
    ),
    mutant(
        name = "forwarding_left",
        stage = "08c_network",
        caught_by = "forwarding_is_switched_back",
        why = "the bridge is gone, and with it the rules and the switch of its own",
        changes = [change(_BRIDGE, "switch_forwarding_off(links, read_switched_on(bridge->alias));", "")],
    ),
    mutant(
        name = "udp_not_published",
        stage = "08c_network",
        caught_by = "udp_port_is_published",
        why = "the web speaks TCP",
        changes = [
            change("08c_network/published_port.cc", "port.udp = protocol == \"udp\";", "port.udp = false;"),
        ],
        also = ["published_at_loopback_is_shut_outside", "container_is_shut_outside"],
        because = "their honest packet is one of UDP for a published port",
    ),
    mutant(
        name = "address_of_a_port_ignored",
        stage = "08c_network",
        caught_by = "port_is_published_at_its_address",
        why = "docker run publishes at all addresses, unless it is told otherwise",
        changes = [
            change(
                "08c_network/published_port.cc",
                "port.address = rest == \"0.0.0.0\" ? \"\" : rest;",
                "port.address = \"\";",
            ),
        ],
    ),
    mutant(
        name = "loopback_translated",
        stage = "08c_network",
        caught_by = "published_at_loopback_is_shut_outside",
        why = "the kernel drops packets for 127.0.0.1 that come from outside, but only after this rule",
        changes = [
            change(
                _RULES,
                "priority dstnat\n    ip daddr != 127.0.0.0/8 fib daddr",
                "priority dstnat\n    fib daddr",
            ),
        ],
    ),
    mutant(
        name = "router_for_anybody",
        stage = "08c_network",
        caught_by = "container_is_shut_outside",
        why = "the containers' addresses are private ones, to which nobody outside has a route",
        changes = [
            change(_RULES, "    ip daddr {subnet} drop comment \"not for a published port\"\n", ""),
            change(_RULES, "    iifname != \"{bridge}\" oifname \"{bridge}\" drop\n", ""),
        ],
    ),
    mutant(
        name = "any_source",
        stage = "08c_network",
        caught_by = "forged_source_is_dropped",
        why = "rules say where packets may go",
        changes = [
            change(_BRIDGE, "set_ipv4(kBridge, \"rp_filter\", \"1\");", "set_ipv4(kBridge, \"rp_filter\", \"0\");"),
            change(_RULES, """    iifname "{bridge}" ip saddr != {subnet} drop comment "forged"
""", ""),
        ],
    ),
]
