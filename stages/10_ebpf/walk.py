"""Which stations does a packet pass to a published port and back, with and without the shortcut?

    sudo bazel run //stages/10_ebpf:walk

Makes a host with a world around it, in network namespaces of its own, fetches one page from the
world, and shows how many packets each station has counted. This machine's network does not change.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from typing import Dict, List, Tuple

# Each knows the other's Ethernet address, and neither speaks IPv6, so that there is no packet but
# those of the page.
SET_UP = """
    mount -t tmpfs tmpfs /run && ip link set lo up
    ip link add up0 address 02:00:00:00:00:01 type veth \\
        peer name eth0 address 02:00:00:00:00:02 netns $0
    no_ipv6=/proc/sys/net/ipv6/conf/up0/disable_ipv6
    [ ! -e $no_ipv6 ] || echo 1 >$no_ipv6
    ip address add 198.51.100.1/24 dev up0 && ip link set up0 up
    ip route add default via 198.51.100.2
    ip neighbour replace 198.51.100.2 lladdr 02:00:00:00:00:02 dev up0
    nsenter --target=$0 --net sh -ec '
        no_ipv6=/proc/sys/net/ipv6/conf/eth0/disable_ipv6
        [ ! -e $no_ipv6 ] || echo 1 >$no_ipv6
        ip address add 198.51.100.2/24 dev eth0 && ip link set eth0 up
        ip neighbour replace 198.51.100.1 lladdr 02:00:00:00:00:01 dev eth0'
"""
# A chain at each hook, which only counts. The bridge's own hooks come after those of IP on the way
# in, and before them on the way back.
HOOKS = [("ip", "prerouting"), ("ip", "forward"), ("ip", "postrouting"), ("bridge", "output"),
         ("bridge", "input")]
# What the talk calls it; then the family and the hook, or the link and its counter.
THERE = [("eth: the host's link receives", "up0", "rx"),
         ("prerouting: conntrack, DNAT", "ip", "prerouting"),
         ("routing, then forward", "ip", "forward"),
         ("postrouting: masquerade", "ip", "postrouting"),
         ("bridge: hood0 sends", "bridge", "output"),
         ("veth: the container's link sends", "hood1", "tx"),
         ("eth0: the container receives", "eth0", "rx")]
BACK = [("eth0: the container sends", "eth0", "tx"),
        ("veth: the container's link receives", "hood1", "rx"),
        ("bridge: hood0 receives", "bridge", "input"),
        ("prerouting: conntrack, DNAT undone", "ip", "prerouting"),
        ("routing, then forward", "ip", "forward"),
        ("postrouting", "ip", "postrouting"),
        ("eth: the host's link sends", "up0", "tx")]
IN, OUT = "tcp dport { 80, 8080 }", "tcp sport { 80, 8080 }"


def output(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def count_at_each_hook() -> None:
    rules = []
    for family, hook in HOOKS:
        rules.append(f"add table {family} walk")
        # The first that netfilter calls, but after the rules of stage 08c that drop packets.
        rules.append(f"add chain {family} walk {hook} "
                     f"{{ type filter hook {hook} priority 250; }}")
        for way in (IN, OUT):
            rules.append(f"add rule {family} walk {hook} {way} counter")
    subprocess.run(["nft", "-f", "-"], input="\n".join(rules), text=True, check=True)


def counted(child: int) -> Dict[Tuple[str, str, str], int]:
    """Packets so far, by the family and the hook, or the link and its counter, and the way."""
    numbers = {}
    for family, hook in HOOKS:
        chain = json.loads(output("nft", "-j", "list", "chain", family, "walk", hook))
        rules = [entry["rule"] for entry in chain["nftables"] if "rule" in entry]
        for way, rule in zip(("there", "back"), rules):
            numbers[family, hook, way] = next(part["counter"]["packets"] for part in rule["expr"]
                                              if "counter" in part)
    inside = ["nsenter", f"--target={child}", "--net"]
    for enter, name in (([], "up0"), ([], "hood1"), (inside, "eth0")):
        link = json.loads(output(*enter, "ip", "-json", "-stats", "link", "show", name))[0]
        for counter in ("rx", "tx"):
            for way in ("there", "back"):
                numbers[name, counter, way] = link["stats64"][counter]["packets"]
    return numbers


def settled(child: int) -> Dict[Tuple[str, str, str], int]:
    """The same, after the last packets of a connection that is being closed."""
    time.sleep(0.5)
    return counted(child)


def fetch(world: int) -> None:
    page = output("nsenter", f"--target={world}", "--net", "curl", "--silent", "--max-time", "5",
                  "http://198.51.100.1:8080/os-release")
    assert "Containers under the hood" in page, page


def walk(stage: str, world: int, shortcut: str) -> List[int]:
    """The packets of one page at each station, there and back."""
    command = [stage, "--network", "bridge", "-p", "8080:80", "--shortcut", shortcut, "sh", "-c",
               "httpd -p 80 -h /etc && echo ready && read line"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as container:
        assert container.stdin is not None and container.stdout is not None
        assert container.stdout.readline() == b"ready\n"
        with open(f"/proc/{container.pid}/task/{container.pid}/children", encoding="ascii") as file:
            child = int(file.read().split()[0])
        count_at_each_hook()
        fetch(world)  # the first one also asks for Ethernet addresses, by ARP
        before = settled(child)
        fetch(world)
        after = settled(child)
        container.communicate(b"end\n")
    for family in ("ip", "bridge"):
        subprocess.run(["nft", "delete", "table", family, "walk"], check=True)
    return [after[where, what, way] - before[where, what, way]
            for way, stations in (("there", THERE), ("back", BACK)) for _, where, what in stations]


def main() -> None:
    if os.geteuid() != 0:
        sys.exit("walk: it makes network namespaces, and needs root: sudo bazel run ...")
    if "IN_OWN_NAMESPACE" not in os.environ:
        os.environ["IN_OWN_NAMESPACE"] = "yes"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.orig_argv[1:]])
    stage = os.path.realpath(os.environ["PROGRAMS"])
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 1000"],
                          stdout=subprocess.PIPE) as world:
        assert world.stdout is not None and world.stdout.readline() == b"\n"
        subprocess.run(["sh", "-ec", SET_UP, str(world.pid)], check=True)
        off, on = (walk(stage, world.pid, shortcut) for shortcut in ("off", "on"))
        world.kill()
    print(f"{'packets of one page, at each station':40}{'NAT':>10}{'shortcut':>10}")
    for number, (name, *_) in enumerate(THERE + BACK):
        if number in (0, len(THERE)):
            print("to the container" if number == 0 else "and back")
        print(f"  {name:38}{off[number] or '-':>10}{on[number] or '-':>10}")


if __name__ == "__main__":
    main()
