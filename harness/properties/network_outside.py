"""Stage 08c: what a neighbour, another machine on the host's network, cannot reach."""

from __future__ import annotations

import contextlib
from typing import Callable, Dict, Iterator, List, Sequence

from harness.agent_client import Json
from harness.properties.look import Ask, Look
from harness.properties.model import Control, Property
from harness.properties.network import need_bridge, need_own_host
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import ROOT, ProbeBroke, Seen, holds, violated

ASKS: Dict[str, Ask] = {}


def rows() -> List[Property]:
    return [
        Property(
            name="published_at_loopback_is_shut_outside", since="08c", scene=loopback_from_outside,
            identities=(ROOT,), observe=only_the_honest_one_arrives("for 127.0.0.1"),
            control=Control.NONE, seen_failing="the mutant loopback_translated",
            holds="a packet for 127.0.0.1 that another machine sends does not reach a port that is"
                  " published there",
            violated="the container gets it",
            lesson="The kernel drops a packet from outside for 127.0.0.1 when it looks for the"
                   " route; a rule of prerouting gives it another destination before.",
            man="8 nft", mistake="The rule matches a port, or any address of the host, and"
                                 " 127.0.0.1 is one of them.",
            command="{stage} --rootfs {root} -p 127.0.0.1:5353:53/udp -- ./server & ./forge"),
        Property(
            name="container_is_shut_outside", since="08c", scene=container_from_outside,
            identities=(ROOT,), observe=only_the_honest_one_arrives("for its own address"),
            control=Control.NONE, seen_failing="the mutant router_for_anybody",
            holds="a packet that another machine sends to the container's own address is dropped",
            violated="the container gets it",
            lesson="A host that forwards is a router: a neighbour who knows the containers'"
                   " addresses needs no published port.",
            man="8 nft", mistake="Ports are published, but what is not published is not shut.",
            command="{stage} --network bridge --rootfs {root} -- ./server & ./forge"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------

HOST, WORLD = "198.51.100.1", "198.51.100.2"
HOST_ETHERNET = "02:00:00:00:00:01"


@contextlib.contextmanager
def another_machine(stage: Stage) -> Iterator[List[str]]:
    """Makes a network namespace beyond the host's link up0: the words that enter it."""
    need_bridge(stage)
    need_own_host(stage)
    stage.watch()  # up0 goes with the other end
    held = stage.start_helper(["busybox", "unshare", "-n", "/bin/sh", "-c",
                               "echo ready; read line"], program=stage.tools.busybox)
    stage.agent.expect(held["run"], "ready", stage.seconds(2.0))
    pid = str(held["pid"])
    stage.busybox("ip", "link", "add", "up0", "type", "veth")  # the other end is called veth0
    stage.busybox("ip", "link", "set", "up0", "address", HOST_ETHERNET)
    stage.busybox("ip", "link", "set", "veth0", "netns", pid)
    stage.busybox("ip", "address", "add", f"{HOST}/24", "dev", "up0")
    stage.busybox("ip", "link", "set", "up0", "up")
    enter = ["nsenter", "-t", pid, "-n"]
    stage.busybox(*enter, stage.tools.busybox, "ip", "link", "set", "veth0", "name", "eth0")
    stage.busybox(*enter, stage.tools.busybox, "ip", "address", "add", f"{WORLD}/24", "dev", "eth0")
    stage.busybox(*enter, stage.tools.busybox, "ip", "link", "set", "eth0", "up")
    yield enter
    stage.agent.write(held["run"], "\n", close=True)
    stage.agent.wait(held["run"], stage.seconds(2.0))


def thrown_from_outside(stage: Stage, forged: Sequence[str], *options: str) -> Look:
    """Another machine sends packets that must not reach port 53 of the container, each given as
    "PORT,TO,FROM", where "inside" is the container's address; then one that must reach it."""
    look = look_of(stage)
    verb = f"catch=53,{stage.seconds(5) * 1000:.0f},0.0.0.0"
    honest = f"{stage.names['port']},{HOST},{WORLD}"
    with another_machine(stage) as enter:
        run = stage.start(stage.probe("hello", verb, "hold=1"), "--network", "bridge", *options)
        if not stage.expect(run, '"catch":"ready"')["found"]:
            stage.tell_why_not_started(look, run, "run")
            return look
        for who, packets in (("forged", forged), ("honest", [honest])):
            for packet in packets:
                if ",inside," in packet:
                    packet = packet.replace("inside", address_inside(stage, run))
                stage.busybox(*enter, stage.host_probe, f"{who}-{stage.nonce}",
                              f"forge={packet},{HOST_ETHERNET}")
        found = stage.wait_for_hold(look, run, "run")
    if found:
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    look.facts["caught"] = look.answers[verb][-1].get("caught", "")
    return look


def address_inside(stage: Stage, run: Json) -> str:
    """The container's, which is not told by the program but by its network."""
    enter = ["nsenter", "-t", str(stage.find_probe(run)["pid"]), "-n"]
    shown = stage.busybox(*enter, stage.tools.busybox, "ip", "-4", "-o", "address", "show", "scope",
                          "global")["stdout"].split()
    if "inet" not in shown:
        raise ProbeBroke("the container has no address")
    return shown[shown.index("inet") + 1].split("/")[0]


def loopback_from_outside(stage: Stage) -> Look:
    """A neighbour sends packets for 127.0.0.1, where a port is published; then one for the address
    at which another is."""
    port = int(stage.names["port"])
    return thrown_from_outside(stage, [f"{port + 1},127.0.0.1,{WORLD}"], "--publish",
                               f"127.0.0.1:{port + 1}:53/udp", "--publish", f"{HOST}:{port}:53/udp")


def container_from_outside(stage: Stage) -> Look:
    """A neighbour sends packets for the container's own address; then one for a published port."""
    return thrown_from_outside(stage, [f"53,inside,{WORLD}"], "--publish",
                               f"{stage.names['port']}:53/udp")


# --- Observations ---------------------------------------------------------------------------------


def only_the_honest_one_arrives(which: str) -> Callable[[Look], Seen]:
    """Of the packets that another machine has sent to the container; `which` are the others."""
    def observe(look: Look) -> Seen:
        caught = look.fact("caught")
        if caught.startswith("forged-"):
            return violated(f"the container got a packet from outside {which}")
        if caught.startswith("honest-"):
            return holds(f"the container got none {which}, but the honest packet after them")
        if caught == "nothing":
            return violated("not even the packet for the published port arrived")
        raise ProbeBroke(f"something else arrived: {caught!r}")
    return observe
