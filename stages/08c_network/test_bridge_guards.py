"""Stage 08c: what the bridge does not let through, on a host of the tests' own."""

from __future__ import annotations

import json
import subprocess
import time

import pytest
from conftest import TIMEOUT, Started, wait_until
from hosts import HOST, THROW, WORLD, Host, caught, python_in, sleeping, thrown

pytest_plugins = ["hosts"]  # its fixtures

TABLE = "containers_under_the_hood"
FORGED = [("10.79.0.2", "127.0.0.1"), ("127.0.0.2", "10.79.0.1"), ("127.5.5.5", "10.79.0.1"),
          ("192.0.2.77", "10.79.0.1"), (WORLD, "10.79.0.1"), (HOST, "10.79.0.1")]


def test_no_forged_packet_gets_to_the_host(root_host):
    """Neither to its loopback nor from an address outside the pool, even after the rules have been
    flushed."""
    with sleeping(root_host, "bridge") as container:
        assert thrown(root_host, container, "10.79.0.2", "10.79.0.1") == "stranger", "it is good"
        assert [thrown(root_host, container, *packet) for packet in FORGED] == ["nothing"] * 6
        root_host.do("nft", "flush", "ruleset")
        assert thrown(root_host, container, "10.79.0.2", "10.79.0.1") == "stranger"
        assert [thrown(root_host, container, *packet) for packet in FORGED] == ["nothing"] * 6
        root_host.do("sysctl", "-qw", "net.ipv4.conf.hood0.route_localnet=1",
                     "net.ipv4.conf.hood0.rp_filter=0")
        assert thrown(root_host, container, *FORGED[0]) == "stranger", "only the switch kept it out"


def test_each_guard_alone_keeps_forged_packets_out(root_host):
    with sleeping(root_host, "bridge") as container:
        root_host.do("sysctl", "-qw", "net.ipv4.conf.hood0.route_localnet=1",
                     "net.ipv4.conf.hood0.rp_filter=0", "net.ipv4.conf.all.rp_filter=0")
        assert [thrown(root_host, container, *packet) for packet in FORGED] == ["nothing"] * 6


def test_nobody_outside_passes_for_a_container(root_host):
    """A packet from outside with an address of the pool would be taken for a container's, and so
    reach a published port under the bridge's own address."""
    with sleeping(root_host, "bridge", "-p", "9999:9999/udp") as container:
        catch = """if True:
            import socket
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 9999))
            print("ready", flush=True)
            print(s.recvfrom(100)[1][0])"""
        with python_in(container, catch) as catcher:
            assert catcher.stdout.readline() == "ready\n"
            up0 = ethernet(root_host, "up0")
            for source in ("10.79.0.1", "10.79.0.2", "10.79.0.77", WORLD):
                script = THROW.replace("SOURCE", source).replace("TARGET", HOST)
                script = script.replace("024f0a4f0001", up0)
                root_host.do("/usr/bin/python3", "-c", script, where="world")
            assert catcher.stdout.readline().strip() == WORLD, "only the last one is good"


def test_a_port_at_the_loopback_is_not_reached_from_outside(root_host):
    """A neighbour can send the host a packet for 127.0.0.1, which the kernel drops, but only after
    the rules of prerouting: these must not have sent it to the container by then."""
    catch = """if True:
        import socket
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 9999))
        print("ready", flush=True)
        print(s.recv(100).decode(), flush=True)"""
    script = THROW.replace("024f0a4f0001", ethernet(root_host, "up0")).replace("SOURCE", WORLD)
    with sleeping(root_host, "bridge", "-p", "127.0.0.1:9999:9999/udp", "-p",
                  f"{HOST}:9999:9999/udp") as container:
        with python_in(container, catch) as catcher:
            assert catcher.stdout.readline() == "ready\n"
            for target, payload in (("127.0.0.1", "forged"), (HOST, "good")):
                root_host.do("/usr/bin/python3", "-c", script.replace("TARGET", target).replace(
                    "stranger", payload), where="world")
            assert catcher.stdout.readline() == "good\n"


# What comes to LINK for two seconds: the source and the payload of each packet of PROTOCOL.
SNIFF = """if True:
    import socket, time
    s = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
    s.bind(("LINK", 0x0800)); s.settimeout(0.1); end = time.monotonic() + 2
    print("ready", flush=True)
    while time.monotonic() < end:
        try: packet, sender = s.recvfrom(2000)
        except TimeoutError: continue
        if packet[9] == PROTOCOL and sender[2] != socket.PACKET_OUTGOING:
            print(socket.inet_ntoa(packet[12:16]), packet[-8:], flush=True)"""

# A segment of TCP as no one sends it: SYN and FIN. Conntrack calls it invalid.
THROW_INVALID = THROW.replace(
    'struct.pack("!HHHH", 1234, 9999, 8 + len(payload), 0)',
    'struct.pack("!HHIIBBHHH", 1234, 9999, 1, 0, 0x50, 3, 1000, 0, 0)').replace(
    "64, 17, 0", "64, 6, 0")


def ethernet(host: Host, link: str) -> str:
    shown = json.loads(host.do("ip", "-json", "link", "show", link))
    return shown[0]["address"].replace(":", "")


@pytest.mark.parametrize("throw, protocol", [(THROW, 17), (THROW_INVALID, 6)],
                         ids=["udp", "invalid"])
def test_each_guard_alone_shuts_a_container_outside(root_host, throw, protocol):
    """Nothing that a neighbour sends to the container's own address arrives, not even what
    conntrack calls invalid, which is neither new nor part of a connection."""
    script = throw.replace("024f0a4f0001", ethernet(root_host, "up0")).replace("SOURCE", WORLD)
    script = script.replace("TARGET", "10.79.0.2")
    sniff = SNIFF.replace("LINK", "eth0").replace("PROTOCOL", str(protocol))

    def arrived() -> str:
        with python_in(container, sniff) as sniffer:
            assert sniffer.stdout.readline() == "ready\n"
            root_host.do("/usr/bin/python3", "-c", script, where="world")
            return sniffer.stdout.read()

    with sleeping(root_host, "bridge") as container:
        assert arrived() == ""
        root_host.do("nft", "flush", "chain", "ip", TABLE, "forwarded")
        assert arrived() == ""
    with sleeping(root_host, "bridge") as container:
        root_host.do("nft", "flush", "chain", "ip", TABLE, "from_elsewhere")
        assert arrived() == ""
        root_host.do("nft", "flush", "chain", "ip", TABLE, "forwarded")
        assert arrived() == f"{WORLD} b'stranger'\n" * 3, "it is good"


def test_the_bridges_own_address_is_shut_outside(root_host):
    """What listens there is for containers."""
    script = THROW.replace("024f0a4f0001", ethernet(root_host, "up0")).replace("SOURCE", WORLD)

    def seen_at(address: str) -> str:
        words = ("/usr/bin/python3", "-c", script.replace("TARGET", address))
        return caught(root_host, address, lambda: root_host.do(*words, where="world"))

    with sleeping(root_host, "bridge") as container:
        assert seen_at(HOST) == "stranger", "it is good"
        assert seen_at("10.79.0.1") == "nothing"
        assert thrown(root_host, container, "10.79.0.2", "10.79.0.1") == "stranger"


def test_no_packet_leaves_with_the_containers_address(root_host):
    """What conntrack calls invalid is not translated."""
    sniff = SNIFF.replace("LINK", "eth0").replace("PROTOCOL", "6")
    with sleeping(root_host, "bridge") as container:
        script = THROW_INVALID.replace("SOURCE", "10.79.0.2").replace("TARGET", WORLD)

        def left() -> str:
            with Started(["nsenter", f"--target={root_host.world}", "--net", "/usr/bin/python3",
                          "-c", sniff], text=True, stdout=subprocess.PIPE) as sniffer:
                assert sniffer.stdout.readline() == "ready\n"
                with python_in(container, script) as thrower:
                    assert thrower.wait(TIMEOUT) == 0
                return sniffer.stdout.read()

        assert left() == ""
        root_host.do("nft", "flush", "chain", "ip", TABLE, "forwarded")
        assert left() == "10.79.0.2 b'stranger'\n" * 3, "it is good"


ADVERTISE = """if True:
    import socket, struct
    def sum16(data):
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        total = (total >> 16) + (total & 0xffff)
        return ~(total + (total >> 16)) & 0xffff
    a = lambda text: socket.inet_pton(socket.AF_INET6, text)
    source, target = a("fe80::4f:aff:fe4f:2"), a("ff02::1")
    icmp = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, 1800, 0, 0)
    icmp += struct.pack("!BBBBIII", 3, 4, 64, 0xc0, 86400, 14400, 0) + a("2001:db8:bad::")
    pseudo = source + target + struct.pack("!II", len(icmp), 58)
    icmp = icmp[:2] + struct.pack("!H", sum16(pseudo + icmp)) + icmp[4:]
    ip = struct.pack("!IHBB", 6 << 28, len(icmp), 58, 255) + source + target
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0))
    mac = bytes.fromhex("333300000001") + bytes.fromhex("024f0a4f0002")
    for i in range(3): s.send(mac + b"\\x86\\xdd" + ip + icmp)"""


def test_a_container_cannot_become_the_hosts_ipv6_router(root_host):
    """CVE-2020-13401. Two guards, each of which is enough: the bridge has no IPv6, and a rule drops
    it. Without both the advertisement is believed."""
    def is_believed(container: Started) -> bool:
        with python_in(container, ADVERTISE) as router:
            assert router.wait(TIMEOUT) == 0
        return wait_until(lambda: "hood0" in root_host.do("ip", "-6", "route") +
                          root_host.do("ip", "-6", "address", "show", "dev", "hood0"), 1)

    with sleeping(root_host, "bridge") as container:
        assert root_host.do("ip", "-6", "address", "show", "dev", "hood0") == ""
        assert root_host.do("ip", "-6", "address", "show", "dev", "hood1") == ""
        assert not is_believed(container)
        root_host.do("nft", "flush", "ruleset")
        assert not is_believed(container), "the bridge has no IPv6"
        assert "inet6" not in subprocess.check_output(
            ["nsenter", f"--target={container.child()}", "--net", "ip", "address", "show", "eth0"],
            text=True)
    with sleeping(root_host, "bridge") as container:
        root_host.do("sysctl", "-qw", "net.ipv6.conf.hood0.disable_ipv6=0",
                     "net.ipv6.conf.hood0.accept_ra=2")
        routes = root_host.do("ip", "-6", "route")
        with python_in(container, ADVERTISE) as router:
            assert router.wait(TIMEOUT) == 0
        assert not wait_until(lambda: "db8:bad" in root_host.do("ip", "-6", "route"), 1), routes
        root_host.do("nft", "flush", "ruleset")
        with python_in(container, ADVERTISE) as router:
            assert router.wait(TIMEOUT) == 0
        assert wait_until(lambda: "2001:db8:bad" in root_host.do("ip", "-6", "route")), "it is good"


# A datagram from port 5060 to port 5060 of TARGET, and each that comes back; for two seconds after
# a line of input.
TALK = """if True:
    import socket
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 5060))
    print("ready", flush=True)
    if "TARGET": input(); s.sendto(b"NAME", ("TARGET", 5060))
    s.settimeout(3)
    try:
        while True: print(s.recv(100).decode(), flush=True)
    except TimeoutError: pass"""


@pytest.mark.parametrize("published", [False, True])
def test_a_container_gets_no_packet_for_a_port_that_is_not_its_own(root_host, published):
    """CVE-2021-3773: it has sent something from that port, and the client's packets look like
    replies. The port is that of a service of the host's, or of another container's."""
    def start(enter: list[str], name: str, target: str) -> Started:
        script = TALK.replace("TARGET", target).replace("NAME", name)
        return Started([*enter, "/usr/bin/python3", "-c", script], text=True,
                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    world = ["nsenter", f"--target={root_host.world}", "--net"]
    options = ["-p", "5060:5060/udp"] if published else []
    with sleeping(root_host, "bridge", *options) as other, sleeping(root_host, "bridge") as bad:
        inside = ["nsenter", f"--target={other.child()}", "--net"]
        with start(inside if published else root_host.enter(), "", "") as service, \
             start(["nsenter", f"--target={bad.child()}", "--net"], "bad", WORLD) as thief, \
             start(world, "client", HOST) as client:
            for process in (service, thief, client):
                assert process.stdout.readline() == "ready\n"
            for process in (thief, client):
                process.stdin.write("go\n")
                process.stdin.flush()
                time.sleep(0.5)
            assert service.stdout.read() == "client\n"
            assert thief.stdout.read() == ""
            assert "bad" in client.stdout.read(), "it can send all the same"
