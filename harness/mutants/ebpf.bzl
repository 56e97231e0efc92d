"""Mutants of stage 10: the shortcut of published ports."""

load(":mutant.bzl", "change", "mutant")

_PROGRAMS = "10_ebpf/shortcut.bpf.c"

MUTANTS = [
    mutant(
        name = "shortcut_not_taken",
        stage = "10_ebpf",
        caught_by = "published_port_skips_netfilter",
        why = "the page is there, by the long way, and only the host's tables tell",
        changes = [
            change("10_ebpf/shortcut.cc", "if (leads_outside(link)) attach_to", "if (link.name == kBridge) attach_to"),
        ],
    ),
    mutant(
        name = "shortcut_for_any_source",
        stage = "10_ebpf",
        caught_by = "outside_cannot_forge_past_the_host",
        why = "the network stack checks sources, one believes",
        changes = [
            change(_PROGRAMS, "if (!may_come_from(skb, packet.ip.saddr, packet.ip.daddr)) return kNext;", ""),
            change(_PROGRAMS, "static __always_inline int may_come_from", "__attribute__((unused)) static __always_inline int may_come_from"),
        ],
    ),
    mutant(
        name = "shortcut_to_the_loopback",
        stage = "10_ebpf",
        caught_by = "published_at_loopback_is_shut_outside",
        why = "127.0.0.1 is one of the host's addresses, and getifaddrs(3) lists it",
        changes = [
            change("10_ebpf/shortcut.cc", "if (ntohl(address) >> 24 != 127) addresses", "addresses"),
        ],
    ),
    mutant(
        name = "reply_from_another_port",
        stage = "10_ebpf",
        caught_by = "reply_has_the_published_address",
        why = "the address is translated back, and the port forgotten",
        changes = [
            change(_PROGRAMS, "    change(skb, 1, source_of(&packet), host);", "    struct endpoint same = host;\n    same.port = packet.source;\n    change(skb, 1, source_of(&packet), same);"),
        ],
        also = ["published_port_skips_netfilter"],
        because = "there is no connection without replies, and so nothing to track",
    ),
    mutant(
        name = "filters_stay",
        stage = "10_ebpf",
        caught_by = "filters_are_removed",
        why = "the next start removes what this one leaves, if there is one",
        changes = [
            change("10_ebpf/shortcut.cc", "    detach_from_entrances(host, std::stoi(note));\n", ""),
        ],
    ),
]
