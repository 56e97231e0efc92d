"""Stage 10: the packets of a published port take a shortcut by eBPF."""

from __future__ import annotations

import time
from typing import Dict, List, Set

from harness.agent_client import Json
from harness.properties.look import Ask, Look, tell_run
from harness.properties.model import Control, Property
from harness.properties.network import NOBODY_THERE, asked_one_is_reached
from harness.properties.network_outside import (HOST, another_machine, only_the_honest_one_arrives,
                                                thrown_from_outside)
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import ROOT, NotTestable, ProbeBroke, Seen, holds, violated

ASKS: Dict[str, Ask] = {}


def rows() -> List[Property]:
    return [
        Property(
            name="published_port_skips_netfilter", since="10", scene=asked_from_outside,
            identities=(ROOT,), observe=netfilter_knows_of_nothing,
            holds="another machine is answered at the published port, and the host's netfilter"
                  " tracks no such connection",
            violated="netfilter tracks the connection, or there is none",
            lesson="On its way to a container a packet passes the host's network stack twice;"
                   " a program at the link can hand it over at once.",
            man="8 tc-bpf", mistake="The program is loaded but attached to no link.",
            command="{stage} --rootfs {root} -p 8080:80 -- /bin/httpd -f & cat"
                    " /proc/net/nf_conntrack"),
        Property(
            name="outside_cannot_forge_past_the_host", since="10", scene=forged_outside,
            identities=(ROOT,), control=Control.NONE,
            observe=only_the_honest_one_arrives("with a source of the host's"),
            seen_failing="the mutant shortcut_for_any_source",
            holds="a packet from outside with an address of the host's as its source does not reach"
                  " the published port",
            violated="the container gets it",
            lesson="What goes around the network stack goes around its checks as well: martians,"
                   " rp_filter.",
            man="7 ip", mistake="The program looks where a packet goes, not where it comes from.",
            command="{stage} --rootfs {root} -p 5353:53/udp -- ./server & ./forge"),
        Property(
            name="reply_has_the_published_address", since="10", scene=asked_by_udp_from_outside,
            identities=(ROOT,), observe=asked_one_is_reached, control=Control.OTHER_SCENE,
            control_scene=asked_at_another_port,
            holds="another machine gets a UDP reply from the address and the port that it asked",
            violated="it gets no reply from there",
            lesson="Address translation is two ways: who asks one address does not listen to"
                   " another.",
            man="7 udp", mistake="The way in translates, the way back does not.",
            command="{stage} --rootfs {root} -p 5353:53/udp -- ./name-server & dig @192.168.1.2"
                    " -p 5353 a"),
        Property(
            name="filters_are_removed", since="10", scene=parent_killed, identities=(ROOT,),
            observe=filters_are_gone, needs=("published_port_skips_netfilter",),
            control=Control.NONE, seen_failing="the mutant filters_stay",
            holds="when the program is killed, its filters are removed from the host's links",
            violated="they are still there",
            lesson="The kernel removes a link's filters with the link, and the host's own links"
                   " stay.",
            man="8 tc-bpf", mistake="The program that is killed was to remove them itself.",
            command="{stage} --rootfs {root} -p 8080:80 -- /bin/sleep 9 & sleep 1; kill -9 $!;"
                    " sleep 1; tc filter show dev eth0 ingress"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------

def asked_of(stage: Stage, serve: str, question: str, *options: str) -> Look:
    look = look_of(stage)
    with another_machine(stage) as enter:
        run = stage.start(stage.probe("hello", serve, "hold=1"), "--network", "bridge", *options)
        found = stage.wait_for_hold(look, run, "run")
        if found:
            asked = stage.busybox(*enter, stage.host_probe, stage.nonce, question)
            look.facts["asked"] = stage.answers(asked["stdout"])[question][0]
            look.facts["text"] = f"served-{stage.nonce}"
            look.facts["tracked"] = stage.agent.read(CONNECTIONS)[CONNECTIONS]
    if found:
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


CONNECTIONS = "/proc/net/nf_conntrack"


def asked_from_outside(stage: Stage) -> Look:
    """Another machine asks a server in the container, at a published port of the host."""
    port = stage.names["port"]
    return asked_of(stage, f"serve=0.0.0.0,80,served-{stage.nonce}", f"connect={HOST},{port}",
                    "--publish", f"{port}:80")


def asked_by_udp(stage: Stage, asked: int) -> Look:
    port = int(stage.names["port"])
    return asked_of(stage, f"serve_udp=53,served-{stage.nonce}", f"ask_udp={HOST},{asked}",
                    "--publish", f"{port}:53/udp")


def asked_by_udp_from_outside(stage: Stage) -> Look:
    """Another machine asks a server in the container by UDP, at a published port of the host."""
    return asked_by_udp(stage, int(stage.names["port"]))


def asked_at_another_port(stage: Stage) -> Look:
    """The same, at a port that is not published."""
    return asked_by_udp(stage, int(stage.names["port"]) + 1)


TC = "/usr/sbin/tc"


def filters_of(stage: Stage) -> str:
    """What tc(8) shows at the entrance of the host's link, which belongs to the scene alone."""
    shown = stage.agent.run(["tc", "filter", "show", "dev", "up0", "ingress"], program=TC)
    if shown.get("exit") != 0:
        raise ProbeBroke(f"tc: {tell_run(shown)}")
    return shown["stdout"]


def living(stage: Stage) -> Set[int]:
    return {process["pid"] for process in stage.agent.processes() if process["state"] != "Z"}


def parent_killed(stage: Stage) -> Look:
    """The program is killed with SIGKILL while another machine could ask its container."""
    look = look_of(stage)
    if "errno" in stage.agent.stat(TC)[TC]:
        raise NotTestable("it needs tc: apt-get install iproute2")
    with another_machine(stage):
        before = living(stage)
        run = stage.start(stage.probe("hello", "hold=1"), "--network", "bridge", "--publish",
                          f"{stage.names['port']}:80")
        if stage.wait_for_hold(look, run, "run"):
            look.facts["filters"] = filters_of(stage)
            stage.agent.signal("KILL", pid=stage.program_of(run))
            end = time.monotonic() + stage.seconds(5.0)
            while living(stage) - before and time.monotonic() < end:
                time.sleep(0.01)  # the agent would kill what has lost its parent, if it ran tc now
            look.facts["filters_after"] = filters_of(stage)
            stage.end(look, run, "run")
            look.left = []
            stage.run(stage.probe("hello"))  # which removes the cgroup, as stage 07 says
    return look


def forged_outside(stage: Stage) -> Look:
    """Another machine sends packets with addresses of the host's as their source; then one with
    its own."""
    port = stage.names["port"]
    return thrown_from_outside(stage, [f"{port},{HOST},{source}" for source in (HOST, "127.0.0.2")],
                               "--publish", f"{port}:53/udp")


# --- Observations ---------------------------------------------------------------------------------


def netfilter_knows_of_nothing(look: Look) -> Seen:
    asked: Json = look.fact("asked")
    if asked.get("errno") in NOBODY_THERE:
        return violated(f"the other machine is not answered: {asked['errno']}")
    if asked.get("text") != look.fact("text"):
        raise ProbeBroke(f"the other machine was answered by something else: {asked}")
    tracked: Json = look.fact("tracked")
    if "errno" in tracked:
        raise NotTestable(f"this kernel does not show what it tracks: {CONNECTIONS}")
    port = look.names["port"]
    lines = [line for line in tracked["text"].splitlines() if f"dport={port} " in line]
    if lines:
        return violated(f"{CONNECTIONS}: {' '.join(lines[0].split())}")
    return holds(f"it was answered, and {CONNECTIONS} has no line with dport={port}")


def filters_are_gone(look: Look) -> Seen:
    before, after = look.fact("filters"), look.fact("filters_after")
    if after:
        return violated(f"tc filter: {' '.join(after.split())}")
    return holds(f"tc shows none at the link where it has shown {'some' if before else 'none'}")
