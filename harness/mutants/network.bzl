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
            change("08c_network/main.cc", "network.take_from_host(mounts)", "take_from_host(mounts)"),
            change(_NETWORK, "  bring_up_loopback();", ""),
        ],
        also = [
            "hosts_loopback_is_refused",
            "abstract_sockets_are_refused",
            "links_are_own",
            "published_port_is_reached",
            "containers_meet_by_name",
            "gateway_is_not_the_host",
            "nothing_is_left",
        ],
        because = "all of these are the network namespace's, and without it the bridge joins the host to itself",
    ),
    mutant(
        name = "lo_stays_down",
        stage = "08c_network",
        caught_by = "loopback_works",
        why = "one never had to bring it up by hand",
        changes = [change(_NETWORK, "  bring_up_loopback();", "")],
    ),
    mutant(
        name = "sys_of_the_hosts_network",
        stage = "08c_network",
        caught_by = "links_are_own",
        why = "/sys was there already",
        changes = [
            change("08c_network/main.cc", "network.take_from_host(mounts)", "take_from_host(mounts)"),
        ],
    ),
    mutant(
        name = "published_from_outside_only",
        stage = "08c_network",
        caught_by = "published_port_is_reached",
        why = "it was tried from another machine",
        changes = [change(_RULES, "type nat hook output priority -100\n    fib daddr type local jump published", "type nat hook output priority -100")],
    ),
    mutant(
        name = "loopback_open",
        stage = "08c_network",
        caught_by = "no_packet_to_hosts_loopback",
        why = "published ports work at localhost now, and that is all one looks at",
        changes = [change(_RULES, "ip daddr 127.0.0.0/8 drop comment", "ip daddr 127.0.0.0/8 accept comment")],
    ),
    mutant(
        name = "hosts_file_replaced",
        stage = "08c_network",
        caught_by = "containers_meet_by_name",
        why = "a new file and a rename is how one writes a file safely; but a mount keeps the old one",
        changes = [change(_BRIDGE, "  const UniqueFd file(\n      check_quietly(open(path.c_str()", "  (void)unlink(path.c_str());\n  const UniqueFd file(\n      check_quietly(open(path.c_str()")],
    ),
    mutant(
        name = "rules_left",
        stage = "08c_network",
        caught_by = "nothing_is_left",
        why = "the links are gone, so what harm can rules do",
        changes = [change(_BRIDGE, "  remove_ruleset();", "")],
    ),
    mutant(
        name = "bridge_left",
        stage = "08c_network",
        caught_by = "nothing_is_left",
        why = "the veth pair goes by itself, and who else was there",
        changes = [change(_BRIDGE, "  remove_link(host, kBridge);", "")],
    ),
    mutant(
        name = "janitor_asleep",
        stage = "08c_network",
        caught_by = "nothing_is_left",
        why = "the kernel takes a namespace's links, so there seems to be nothing to do",
        changes = [change(_BRIDGE, "leave_bridge(leash.wait());", "(void)leash.wait();")],
    ),
    mutant(
        name = "pasta_maps_the_gateway",
        stage = "08c_network",
        caught_by = "gateway_is_not_the_host",
        why = "it is what pasta does by default",
        changes = [change("08c_network/user_mode_network.cc", "\"--no-map-gw\", ", "")],
    ),
]
