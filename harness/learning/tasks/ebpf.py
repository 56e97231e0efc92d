"""Stage 10: what a learner writes, and in which order."""

from __future__ import annotations

from harness.learning.skeleton import Todo
from harness.learning.task import CORE, ROBUST, THEN, Example, Milestone, Task

TASK = Task(
    stage="10",
    goal="Have two eBPF programs hand the packets of a published port over, from link to link.",
    examples=(
        Example("10_ebpf --shortcut off true; echo $?", "0"),
        Example("10_ebpf --shortcut perhaps true 2>/dev/null; echo $?", "125"),
    ),
    toolkit=(
        ("bpf_object__open_mem(…), bpf_object__load(…)", "libbpf: maps and programs from the ELF"
         " file kPrograms, see shortcut.bpf.c"),
        ("bpf_tc_hook_create(…), bpf_tc_attach(…)", "libbpf: tc qdisc add … clsact, tc filter add"
         " … ingress"),
        ("find_container(child, links)", "the container's link on the host, its address and its"
         " published ports"),
        ("BridgeLock lock(…)", "one start at a time changes the bridge, and the filters"),
    ),
    todos=(
        Todo("entrance.cc", "attach_at_entrance", 1,
             "clsact at the link, unless it is there (-EEXIST); then filter_of(owner) with the"
             " program, at the entrance_of() the link.",
             "(void)link, (void)program, (void)name, (void)owner;"),
        Todo("shortcut.cc", "leads_outside", 1,
             "the links by which packets from outside come: with an Ethernet address, no port of a"
             " bridge, neither lo nor the bridge.",
             "(void)link; return false;"),
        Todo("shortcut.cc", "ways_in", 1,
             "for each published port, and each address of the host at which it is published: the"
             " host's endpoint and the container's. In the map they are in network byte order.",
             "(void)container; return {};"),
        Todo("entrance.cc", "detach_from_entrances", 4,
             "at all links: the filters of `owner`, and those whose owner no longer exists."
             " When no program is left there, ours or another's, clsact as well.",
             "(void)host, (void)owner;"),
    ),
    milestones=(
        Milestone(CORE, "Packets from outside take the shortcut", (
            "published_port_skips_netfilter",)),
        Milestone(CORE, "Replies come from where the client asked", (
            "reply_has_the_published_address",)),
        Milestone(THEN, "What the network stack would drop does not get in", (
            "outside_cannot_forge_past_the_host",)),
        Milestone(ROBUST, "Nothing is left, whatever is killed", ("filters_are_removed",)),
    ),
)
