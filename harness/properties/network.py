"""Stage 08c: a network namespace, and ways out of it."""

from __future__ import annotations

from typing import Callable, Dict, List, Sequence

from harness.agent_client import Agent, Json
from harness.properties.inside import inside, start_servers
from harness.properties.look import Ask, Look, tell_run
from harness.properties.model import SHELL, Control, Positive, Property
from harness.properties.observing import allowed, own_namespace
from harness.properties.pivot_root import with_sys
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import (ROOT, NotStarted, NotTestable, ProbeBroke, Seen, holds,
                                        violated)


def rows() -> List[Property]:
    return [
        Property(
            name="own_network_namespace", since="08c", scene=inside,
            observe=own_namespace("net"),
            holds="another network namespace than the host's", violated="the host's",
            lesson="Links, addresses, ports, firewall rules and abstract sockets belong to a"
                   " network namespace.",
            man="7 network_namespaces", mistake="CLONE_NEWNET is missing.",
            command=SHELL + " 'ip link'"),
        Property(
            name="hosts_loopback_is_refused", since="08c", scene=inside, asks=("host_port",),
            observe=host_does_not_answer("host_port"),
            needs=("own_network_namespace",),
            holds="a server at the host's 127.0.0.1 does not answer inside",
            violated="it answers",
            lesson="A server that listens only on localhost trusts every process that can"
                   " connect.",
            man="7 network_namespaces", mistake="The container shares the host's network.",
            command=SHELL + " 'wget -O - http://127.0.0.1:8000'"),
        Property(
            name="abstract_sockets_are_refused", since="08c", scene=inside, asks=("host_abstract",),
            observe=host_does_not_answer("host_abstract"),
            needs=("own_network_namespace",),
            holds="an abstract socket of the host does not answer inside", violated="it answers",
            lesson="Abstract sockets have no file and no mode: only the network namespace guards"
                   " them.",
            man="7 unix", mistake="The container shares the host's network.",
            command=SHELL + " 'cat /proc/net/unix'"),
        Property(
            name="loopback_works", since="08c", scene=inside, asks=("loopback",),
            observe=allowed("loopback", "ENETUNREACH", "EADDRNOTAVAIL"), control=Control.NONE,
            seen_failing="the mutant lo_stays_down",
            holds="the container can connect to itself at 127.0.0.1", violated="it cannot",
            lesson="A new network namespace has lo, but it is down.",
            man="7 netdevice", mistake="lo was not brought up.",
            command=SHELL + " 'ping -c 1 127.0.0.1'"),
        Property(
            name="links_are_own", since="08c", scene=with_sys, asks=("links",),
            observe=links_are_own,
            needs=("own_network_namespace",),
            holds="/sys/class/net shows the container's link lo", violated="it shows the host's",
            lesson="A sysfs shows the network namespace in which it was mounted.",
            man="5 sysfs", mistake="/sys is the host's.",
            command=SHELL + " 'ls /sys/class/net'"),
        Property(
            name="published_port_is_reached", since="08c", scene=published, identities=(ROOT,),
            observe=asked_one_is_reached, control=Control.OTHER_SCENE,
            control_scene=not_published,
            needs=("own_network_namespace",),
            holds="the host reaches the container at localhost and the published port",
            violated="there is no answer",
            lesson="Packets from the host itself take another path than packets from outside.",
            man="8 nft", mistake="The port is translated in the prerouting hook only.",
            command="{stage} --rootfs {root} -p 8080:80 -- /bin/httpd -f & wget -O -"
                    " localhost:8080"),
        Property(
            name="udp_port_is_published", since="08c", scene=published_udp, identities=(ROOT,),
            observe=asked_one_is_reached, control=Control.OTHER_SCENE,
            control_scene=published_tcp_only,
            holds="with -p PORT:53/udp a UDP request to that port of the host is answered",
            violated="there is no answer",
            lesson="UDP port 53 and TCP port 53 are two different ports.",
            man="7 udp", mistake="/udp is parsed, but only TCP is published.",
            command="{stage} --rootfs {root} -p 5353:53/udp -- ./name-server & dig @127.0.0.1"
                    " -p 5353 a"),
        Property(
            name="port_is_published_at_its_address", since="08c", scene=published_at_loopback,
            identities=(ROOT,), observe=asked_one_is_not_reached, control=Control.OTHER_SCENE,
            control_scene=published_everywhere, earned_by=Positive(published_everywhere),
            holds="a port published at 127.0.0.1 is not reached at another address of the host",
            violated="it is",
            lesson="What is for the machine's own programs must not be open to its network.",
            man="7 ip", mistake="The address is parsed, but the port is published at every"
                                " address.",
            command="{stage} --rootfs {root} -p 127.0.0.1:8080:80 -- /bin/httpd -f & wget -O -"
                    " 192.168.1.2:8080"),
        Property(
            name="forged_source_is_dropped", since="08c", scene=forged_source,
            identities=(ROOT,), observe=only_the_good_packet_arrives, control=Control.NONE,
            seen_failing="the mutant any_source",
            holds="a packet from the container with a source that is not its own is dropped",
            violated="the host takes it",
            lesson="Programs that trust 127.0.0.0/8, or another network, trust the source of a"
                   " packet, which is what the sender has written.",
            man="7 ip", mistake="The rules check where packets go, but not where they come from.",
            command="{stage} --network bridge --rootfs {root} -- ./forge"),
        Property(
            name="no_packet_to_hosts_loopback", since="08c", scene=published, identities=(ROOT,),
            observe=no_forged_packet_arrives, control=Control.NONE,
            seen_failing="the mutant loopback_open",
            holds="a packet from the container to the host's 127.0.0.1 is dropped",
            violated="it arrives",
            lesson="route_localnet lets packets for 127.0.0.1 leave the loopback, and come in from"
                   " other links: CVE-2020-8558 of Kubernetes.",
            man="7 packet",
            mistake="route_localnet is on, and no rule drops what comes from outside.",
            command="{stage} --network bridge --rootfs {root} -- ./forge"),
        Property(
            name="loopback_is_shut_without_rules", since="08c", scene=rules_flushed,
            identities=(ROOT,), observe=no_forged_packet_arrives, control=Control.NONE,
            seen_failing="the mutant rules_instead_of_a_proxy",
            holds="after nft flush ruleset, too, no packet gets to the host's 127.0.0.1",
            violated="it arrives",
            lesson="An administrator who reloads a firewall flushes the rules; a port that was"
                   " closed without rules stays closed.",
            man="8 nft", mistake="route_localnet is on, and only a rule makes up for it.",
            command="{stage} --network bridge --rootfs {root} -p 8080:80 -- ./forge & nft flush"
                    " ruleset"),
        Property(
            name="host_speaks_no_ipv6_with_it", since="08c", scene=at_bridge, identities=(ROOT,),
            observe=no_link_with_ipv6_came, control=Control.NONE,
            seen_failing="the mutant bridge_speaks_ipv6",
            holds="the host has no IPv6 at the container's links", violated="it has",
            lesson="By router advertisements a neighbour becomes the host's router:"
                   " CVE-2020-13401.",
            man="7 ipv6", mistake="Only IPv4 was considered, but a new link has IPv6 by default.",
            command="{stage} --network bridge --rootfs {root} -- /bin/sh & ip -6 address"),
        Property(
            name="forwarding_is_switched_back", since="08c", scene=at_bridge, identities=(ROOT,),
            observe=forwarding_is_as_before, control=Control.NONE,
            seen_failing="the mutant forwarding_left",
            holds="afterwards the host's links forward as they did before",
            violated="one forwards that did not",
            lesson="A host that forwards is a router for all of its networks.",
            man="7 ip", mistake="ip_forward is switched on, but never switched off again.",
            command="{stage} --network bridge --rootfs {root} -- /bin/true; sysctl -a | grep"
                    " forwarding"),
        Property(
            name="containers_meet_by_name", since="08c", scene=two_containers, identities=(ROOT,),
            observe=asked_one_is_reached, control=Control.OTHER_SCENE, control_scene=two_apart,
            holds="a container reaches one that started later, by its name",
            violated="it does not know the name, or gets no answer",
            lesson="A bridge is a switch: every container with a link to it can talk to the"
                   " others.",
            man="5 hosts", mistake="The names are written at the start, and never updated.",
            command="{stage} --network bridge --rootfs {root} -- /bin/ping later"),
        Property(
            name="gateway_is_not_the_host", since="08c", scene=by_pasta, identities=(ROOT,),
            observe=asked_one_is_not_reached, control=Control.NONE,
            seen_failing="the mutant pasta_maps_the_gateway",
            holds="the gateway's address does not lead to the host's loopback", violated="it does",
            lesson="pasta and slirp4netns offer the host's loopback, unless told not to.",
            man="1 pasta", mistake="--no-map-gw is missing.",
            command="{stage} --network pasta --rootfs {root} -- /bin/wget -O - 198.51.100.2:8000"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def need_bridge(stage: Stage) -> None:
    if "errno" in stage.agent.stat("/usr/sbin/nft")["/usr/sbin/nft"]:
        raise NotTestable("it needs nft: apt-get install nftables")


def published_in(stage: Stage, *options: str) -> Look:
    """A server in the container, and a client on the host; a packet forged in the container."""
    look = look_of(stage)
    need_bridge(stage)
    port, text = stage.names["port"], f"served-{stage.nonce}"
    stage.watch()
    run = stage.start(stage.probe("hello", f"serve=0.0.0.0,80,{text}", "hold=1", f"forge={port}"),
                      *options)
    if stage.wait_for_hold(look, run, "run"):
        asked = stage.agent.run(["probe", stage.nonce, f"connect=127.0.0.1,{port}"],
                                program=stage.host_probe, **stage.circumstances())
        look.facts["asked"] = stage.answers(asked["stdout"])[f"connect=127.0.0.1,{port}"][0]
        look.facts["text"] = text
        look.facts["caught"] = caught_when_released(stage, run, [int(port)])[0]
        stage.end(look, run, "run")
    return look


def caught_when_released(stage: Stage, run: Json, ports: Sequence[int],
                         address: str = "127.0.0.1") -> List[str]:
    """What sockets of the host's catch of the packets that the probe forges after its "hold=1".
    They wait for a given time, which therefore begins only when the container runs."""
    verbs = [f"catch={port},{stage.seconds(1.5) * 1000:.0f},{address}" for port in ports]
    catchers = []
    for verb in verbs:
        catcher = stage.agent.start(["catcher", stage.nonce, verb], stage.seconds(10.0),
                                    program=stage.host_probe, **stage.circumstances())
        stage.agent.expect(catcher["run"], '"catch":"ready"', stage.seconds(2.0))
        catchers.append(catcher["run"])
    stage.agent.write(run["run"], "\n", close=True)
    caught = []
    for verb, catcher in zip(verbs, catchers):
        ended = stage.agent.wait(catcher, stage.seconds(4.0))
        caught.append(stage.answers(ended["stdout"])[verb][-1].get("caught", ""))
        stage.agent.finish(catcher)
    return caught


def published(stage: Stage) -> Look:
    """A port of the container, published."""
    return published_in(stage, "--network", "bridge", "--publish", f"{stage.names['port']}:80")


def not_published(stage: Stage) -> Look:
    """The same, but not published."""
    return published_in(stage, "--network", "bridge")


def asked_of(stage: Stage, verb: str, question: str, *options: str) -> Look:
    """The host, which has the address 198.51.100.1 as well, asks a server in the container."""
    look = look_of(stage)
    need_bridge(stage)
    need_own_host(stage)
    stage.busybox("ip", "link", "add", "up0", "type", "bridge")
    stage.busybox("ip", "address", "add", "198.51.100.1/24", "dev", "up0")
    stage.busybox("ip", "link", "set", "up0", "up")
    stage.watch()
    run = stage.start(stage.probe("hello", verb, "hold=1"), "--network", "bridge", *options)
    if stage.wait_for_hold(look, run, "run"):
        asked = stage.agent.run(["probe", stage.nonce, question], program=stage.host_probe,
                                **stage.circumstances())
        look.facts["asked"] = stage.answers(asked["stdout"])[question][0]
        look.facts["text"] = f"served-{stage.nonce}"
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


def published_udp_in(stage: Stage, protocol: str) -> Look:
    port = stage.names["port"]
    return asked_of(stage, f"serve_udp=53,served-{stage.nonce}", f"ask_udp=127.0.0.1,{port}",
                    "--publish", f"{port}:53{protocol}")


def published_udp(stage: Stage) -> Look:
    """A port of UDP, published."""
    return published_udp_in(stage, "/udp")


def published_tcp_only(stage: Stage) -> Look:
    """The same number, but of TCP."""
    return published_udp_in(stage, "")


def published_at(stage: Stage, address: str) -> Look:
    port = stage.names["port"]
    return asked_of(stage, f"serve=0.0.0.0,80,served-{stage.nonce}",
                    f"connect=198.51.100.1,{port}", "--publish", f"{address}{port}:80")


def published_at_loopback(stage: Stage) -> Look:
    """A port, published at one of the host's addresses, and asked for at another."""
    return published_at(stage, "127.0.0.1:")


def published_everywhere(stage: Stage) -> Look:
    """The same, published at all of them."""
    return published_at(stage, "")


def forged_source(stage: Stage) -> Look:
    """The container sends the host packets with other sources than its own, and a good one."""
    look = look_of(stage)
    need_bridge(stage)
    need_own_host(stage)
    port = int(stage.names["port"])
    sources = ("", "127.0.0.2", "192.0.2.77")
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"), "--network",
                      "bridge")
    if not stage.wait_for_hold(look, run, "run"):
        return look
    gateway = gateway_of(stage.agent, stage.find_probe(run)["pid"])
    stage.agent.write(run["run"], "\n", close=True)
    stage.end(look, run, "run")
    verbs = [f"forge={port + number},{gateway}" + (f",{source}" if source else "")
             for number, source in enumerate(sources)]
    run = stage.start(stage.probe("hello", "hold=1", *verbs), "--network", "bridge")
    if stage.wait_for_hold(look, run, "forge"):
        caught = caught_when_released(stage, run, range(port, port + len(sources)), "0.0.0.0")
        look.facts["caught"] = dict(zip(sources, caught))
        stage.end(look, run, "forge")
    return look


def gateway_of(agent: Agent, pid: int) -> str:
    """The way out of a process' network, see proc_pid_net(5)."""
    path = f"/proc/{pid}/net/route"
    for line in agent.read(path)[path].get("text", "").splitlines()[1:]:
        fields = line.split()
        if fields[1] == "00000000":
            return ".".join(str(byte) for byte in reversed(bytes.fromhex(fields[2])))
    raise ProbeBroke("the container has no way out")


def need_own_host(stage: Stage) -> None:
    if not stage.agent.has_own_host:
        raise NotTestable("it needs root, for a network of the test's own")


def rules_flushed(stage: Stage) -> Look:
    """A packet is forged in the container after a user on the host has flushed the rules."""
    look = look_of(stage)
    need_bridge(stage)
    need_own_host(stage)
    port = stage.names["port"]
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1", f"forge={port}"), "--network", "bridge",
                      "--publish", f"{port}:80")
    if not stage.wait_for_hold(look, run, "run"):
        return look
    stage.agent.run(["nft", "flush", "ruleset"], program="/usr/sbin/nft")
    look.facts["caught"] = caught_when_released(stage, run, [int(port)])[0]
    stage.end(look, run, "run")
    return look


FORWARDING = ("/proc/sys/net/ipv4/ip_forward", "/proc/sys/net/ipv4/conf/up0/forwarding")
INET6 = "/proc/sys/net/ipv6/conf"


def links_with_ipv6(stage: Stage) -> List[str]:
    """The host's links that give themselves an IPv6 address: at once, or when there is a carrier.

    Not the ports of a bridge, which pass all packets to it.
    """
    ports = [line.split(":")[1].split("@")[0].strip()
             for line in stage.busybox("ip", "-o", "link")["stdout"].splitlines()
             if " master " in line]
    names = stage.agent.list(INET6)[INET6].get("entries", {})
    switches = stage.agent.read(*[f"{INET6}/{name}/{switch}" for name in names
                                  for switch in ("disable_ipv6", "addr_gen_mode")])

    def is_on(name: str) -> bool:
        disabled, mode = (switches[f"{INET6}/{name}/{switch}"].get("text", "").strip()
                          for switch in ("disable_ipv6", "addr_gen_mode"))
        return disabled == "0" and mode != "1"

    return [name for name in names if name not in (*ports, "all", "default") and is_on(name)]


def at_bridge(stage: Stage) -> Look:
    """At the bridge of a host that has another link, looked at before, meanwhile and after."""
    look = look_of(stage)
    need_bridge(stage)
    need_own_host(stage)
    stage.busybox("ip", "link", "add", "up0", "type", "bridge")
    stage.busybox("ip", "link", "set", "up0", "up")
    stage.watch()
    look.facts["before"] = stage.agent.read(*FORWARDING)
    look.facts["ipv6_before"] = links_with_ipv6(stage)
    run = stage.start(stage.probe("hello", "hold=1"), "--network", "bridge")
    if stage.wait_for_hold(look, run, "run"):
        look.facts["ipv6_meanwhile"] = links_with_ipv6(stage)
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
        look.facts["after"] = stage.agent.read(*FORWARDING)
    return look


def two_containers_in(stage: Stage, network: str) -> Look:
    """The first to start asks the second one by its name."""
    look = look_of(stage)
    need_bridge(stage)
    text, ask = f"served-{stage.nonce}", f"connect_by_name=later-{stage.nonce},80"
    stage.watch()
    first = stage.start(stage.probe("hello", "hold=1", ask), "--network", network)
    if not stage.wait_for_hold(look, first, "first"):
        return look
    second = stage.start_words([
        stage.program, "--rootfs", stage.root, "--network", network, "--hostname",
        f"later-{stage.nonce}", "--", *stage.probe(f"serve=0.0.0.0,80,{text}", "hold=2")],
        close_stdin=False)
    if not stage.expect(second, '"verb":"hold=2","held":"waiting"')["found"]:
        stage.tell_why_not_started(look, second, "second")
        return look
    stage.agent.write(first["run"], "\n", close=True)
    stage.agent.wait(first["run"], stage.seconds(2.0))
    stage.agent.write(second["run"], "\n", close=True)
    stage.agent.wait(second["run"], stage.seconds(2.0))
    stage.end(look, first, "first")
    stage.end(look, second, "second")
    look.facts["asked"] = look.answers[ask][0]
    look.facts["text"] = text
    return look


def two_containers(stage: Stage) -> Look:
    """Two containers at the bridge."""
    return two_containers_in(stage, "bridge")


def two_apart(stage: Stage) -> Look:
    """Two containers without a network."""
    return two_containers_in(stage, "none")


def by_pasta(stage: Stage) -> Look:
    """By pasta, whose gateway would be the host's loopback."""
    look = look_of(stage)
    places = stage.agent.stat("/usr/bin/pasta", "/dev/net/tun")
    if any("errno" in place for place in places.values()) or not stage.agent.has_own_host:
        raise NotTestable("it needs root, /dev/net/tun and pasta: apt-get install passt")
    stage.busybox("ip", "link", "add", "up0", "type", "bridge")  # the host's way out, to nowhere
    stage.busybox("ip", "address", "add", "198.51.100.1/24", "dev", "up0")
    stage.busybox("ip", "link", "set", "up0", "up")
    stage.busybox("ip", "route", "add", "default", "via", "198.51.100.2")
    start_servers(stage)
    stage.watch()
    ask = f"connect=198.51.100.2,{stage.names['port']}"
    look.runs["run"] = stage.run(stage.probe("hello", ask), "--network", "pasta")
    look.answers = stage.answers(look.runs["run"]["stdout"])
    if "hello" not in look.answers:
        raise NotStarted(tell_run(look.runs["run"]))
    look.facts["asked"] = look.answers[ask][0]
    look.facts["text"] = f"served-{stage.nonce}"
    return look


# --- Observations ---------------------------------------------------------------------------------

# What connect(2) says where nobody answers, see ip(7) and unix(7).
NOBODY_THERE = ("ECONNREFUSED", "ENETUNREACH", "EHOSTUNREACH", "EINPROGRESS", "ETIMEDOUT",
                "ENOENT")


def was_served(answer: Dict, text: str, good: Callable[[str], Seen],
               bad: Callable[[str], Seen]) -> Seen:
    if answer.get("text") == text:
        return good(f"{text!r} was read")
    if answer.get("errno") in NOBODY_THERE:
        return bad(f"connect(2) said {answer['errno']}")
    if answer.get("errno") == "EAGAIN" and good is holds:  # the port is held open, but nothing more
        return bad("the server took the connection but sent nothing")
    raise ProbeBroke(f"neither {text!r} nor that nobody is there: {answer}")


def host_does_not_answer(ask: str):
    """Is a server of the host, which can be reached on the host, out of reach for the probe?"""
    def observe(look: Look) -> Seen:
        text = f"served-{look.names['nonce']}"
        return was_served(look.answer(ask), text, violated, holds)
    return observe


def asked_one_is_reached(look: Look) -> Seen:
    return was_served(look.fact("asked"), look.fact("text"), holds, violated)


def asked_one_is_not_reached(look: Look) -> Seen:
    return was_served(look.fact("asked"), look.fact("text"), violated, holds)


def links_are_own(look: Look) -> Seen:
    names = look.answer("links").get("names")
    if names == ["lo"]:
        return holds("/sys/class/net shows lo and nothing else")
    if names:
        return violated(f"/sys/class/net shows {', '.join(sorted(names))}")
    raise ProbeBroke(str(look.answer("links")))


def no_link_with_ipv6_came(look: Look) -> Seen:
    before, meanwhile = look.fact("ipv6_before"), look.fact("ipv6_meanwhile")
    if not before:
        raise NotTestable("this kernel has no IPv6")
    came = sorted(set(meanwhile) - set(before))
    if came:
        return violated(f"{INET6}/{came[0]}/disable_ipv6 is 0")
    return holds(f"of the links in {INET6} none is new and has IPv6")


def forwarding_is_as_before(look: Look) -> Seen:
    before, after = ([look.fact(when)[path].get("text", "").strip() for path in FORWARDING]
                     for when in ("before", "after"))
    told = f"{' and '.join(FORWARDING)} were {' and '.join(before)}, are {' and '.join(after)}"
    if "" in before + after:
        raise ProbeBroke(told)
    return holds(told) if before == after else violated(told)


def only_the_good_packet_arrives(look: Look) -> Seen:
    caught, nonce = look.fact("caught"), look.names["nonce"][:8]
    arrived = [source for source, text in caught.items() if (text or "").startswith(nonce)]
    if "" not in arrived:
        raise ProbeBroke(f"a packet with its own source does not arrive either: {caught}; "
                         + look.tell_runs())
    if len(arrived) > 1:
        return violated(f"the host took a packet from {', '.join(arrived[1:])}")
    return holds("of three packets the host took the one with the container's own source")


def no_forged_packet_arrives(look: Look) -> Seen:
    caught, verb = look.fact("caught"), f"forge={look.names['port']}"
    if caught.startswith(look.names["nonce"][:8]):
        return violated("a socket of the host's, bound to 127.0.0.1, got the container's packet")
    sent = look.answers.get(verb, [{}])[0]
    if sent.get("errno") == "EPERM":
        return holds("it may not send packets of its own making, see packet(7)")
    if not sent.get("ok"):
        raise ProbeBroke(f"the packet was not sent: {look.answers.get(verb)}")
    if caught == "nothing":
        return holds("it was sent, and did not arrive")
    raise ProbeBroke(f"something else arrived: {caught!r}")


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "host_port": Ask("connect=127.0.0.1,{port}"),
    "host_abstract": Ask("connect_abstract=box-{nonce}"),
    "loopback": Ask("loopback"),
    "links": Ask("list={in}/sys/class/net"),
}
