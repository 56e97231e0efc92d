"""Stage 10: the way of a published port's packets, on a host of the tests' own."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess

import pytest
from conftest import TIMEOUT, Started, children_of, wait_until
from hosts import (HOST, WORLD, Host, check_that_nothing_is_left, end, fetch, python_in, reaches,
                   serve, sleeping, text_of)

pytest_plugins = ["hosts"]  # its fixtures

STAGE = "10_ebpf"


@pytest.fixture(name="host")
def host_of_this_stage(root_host) -> Host:
    return dataclasses.replace(root_host, stage=STAGE)


def tracked(host: Host) -> str:
    """The connections that netfilter knows of."""
    return host.do("cat", "/proc/net/nf_conntrack")


def through_the_bridge(host: Host) -> int:
    """How many packets the bridge has passed to the host's network stack."""
    links = json.loads(host.do("ip", "-json", "-stats", "link", "show", "hood0"))
    return links[0]["stats64"]["rx"]["packets"]


def filters(host: Host, link: str) -> int:
    """How many programs of ours are at the entrance of a link."""
    shown = host.do("tc", "filter", "show", "dev", link, "ingress")
    return shown.count("pref 79 bpf chain 0 handle")


def python_at(host: Host, where: str, script: str) -> Started:
    pid = host.holder if where == "host" else host.world
    return Started(["nsenter", f"--target={pid}", "--net", "/usr/bin/python3", "-c", script],
                   stdout=subprocess.PIPE, text=True)


def fill_in(script: str, **values: object) -> str:
    """str.format(), for a script with braces of its own."""
    for name, value in values.items():
        script = script.replace(f"{{{name}}}", str(value))
    return script


def said_at(host: Host, where: str, script: str) -> str:
    with python_at(host, where, script) as process:
        return process.communicate(timeout=TIMEOUT)[0].strip()


# Replies to the first byte of what it gets, so many times, and says who has sent it.
UDP_SERVER = """if True:
    import socket
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); server.bind(("0.0.0.0", 53))
    print("ready", flush=True)
    while True:
        data, client = server.recvfrom(65535)
        print(len(data), client[0], flush=True)
        server.sendto(data[:1] * int(data[1:6]), client)"""

UDP_CLIENT = """if True:
    import socket
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); client.settimeout(2)
    client.connect(("{host}", {port}))
    for asked, length in {sizes}:
        client.send(b"x%05d" % length + bytes(asked))
        print(len(client.recv(65535)), end=" ")"""


def test_the_page_comes_by_the_shortcut(host, page):
    with serve(host, "bridge", page, "-p", "8080:80"):
        assert reaches(host, f"http://{HOST}:8080/", page, "world"), "the first one asks by ARP"
        before = through_the_bridge(host)
        for _ in range(5):
            assert fetch(host, f"http://{HOST}:8080/", "world") == text_of(page)
        assert through_the_bridge(host) == before, "no packet has passed the bridge"
        assert "dport=8080" not in tracked(host), "and netfilter knows of no connection"


def test_without_the_shortcut_it_comes_by_nat_and_the_bridge(host, page):
    with serve(host, "bridge", page, "-p", "8080:80", "--shortcut", "off"):
        before = through_the_bridge(host)
        assert fetch(host, f"http://{HOST}:8080/", "world") == text_of(page)
        assert through_the_bridge(host) > before
        assert "dport=8080" in tracked(host)


def test_the_server_sees_the_clients_address(host):
    with sleeping(host, "bridge", "-p", "8080:80") as container:
        script = """if True:
            import socket
            server = socket.create_server(("0.0.0.0", 80)); print("ready", flush=True)
            print(server.accept()[1][0])"""
        with python_in(container, script) as server:
            assert server.stdout.readline() == "ready\n"
            said_at(host, "world", f"import socket; socket.create_connection(('{HOST}', 8080))")
            assert server.stdout.readline().strip() == WORLD


def test_udp_and_fragments_of_both_ways(host):
    """Small ones, a long reply, a long request; a reply's fragments all take the shortcut."""
    with sleeping(host, "bridge", "-p", "5353:53/udp") as container:
        with python_in(container, UDP_SERVER) as server:
            assert server.stdout.readline() == "ready\n"
            sizes = [(0, 10), (0, 5000), (4000, 20), (4000, 9000), (0, 10)]
            client = fill_in(UDP_CLIENT, host=HOST, port=5353, sizes=sizes)
            assert said_at(host, "world", client) == "10 5000 20 9000 10"
            assert server.stdout.readline() == f"6 {WORLD}\n"
            client = fill_in(UDP_CLIENT, host=HOST, port=5353, sizes=[(4000, 20), (0, 5000)])
            assert said_at(host, "world", client) == "20 5000", "the first one is in fragments"


def test_nobody_listens(host):
    """The container's ICMP error reaches the client, with the addresses that the client knows."""
    with sleeping(host, "bridge", "-p", "5353:53/udp", "-p", "8080:80"):
        script = f"""if True:
            import socket
            client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); client.settimeout(2)
            client.connect(("{HOST}", 5353)); client.send(b"x")
            try: client.recv(100)
            except ConnectionRefusedError: print("udp refused")
            try: socket.create_connection(("{HOST}", 8080))
            except ConnectionRefusedError: print("tcp refused")"""
        assert said_at(host, "world", script) == "udp refused\ntcp refused"


# What the test's own packets need: the checksum of IP and ICMP.
SUM16 = """if True:
    import socket, struct
    def sum16(data):
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        total = (total >> 16) + (total & 0xffff)
        return ~(total + (total >> 16)) & 0xffff
    def ip_header(size, protocol, source, target):
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, size, 1, 0, 64, protocol, 0,
                         socket.inet_aton(source), socket.inet_aton(target))
        return ip[:10] + struct.pack("!H", sum16(ip)) + ip[12:]
"""

TOO_LARGE = SUM16 + """
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); client.bind(("{client}", 4444))
    client.sendto(b"x00001", ("{host}", 5353))
    client.recv(100)
    quoted = ip_header(1500, 17, "{host}", "{client}") + struct.pack("!HHHH", 5353, {port}, 1480, 0)
    error = struct.pack("!BBHHH", 3, 4, 0, 0, 1000) + quoted
    error = error[:2] + struct.pack("!H", sum16(error)) + error[4:]
    raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.sendto(error, ("{host}", 0))"""


def test_a_router_says_that_packets_are_too_large(host):
    """Path MTU discovery: a router's ICMP error quotes the host's address, and is for the
    container; if it is about a packet that nobody has sent, it is not."""
    with sleeping(host, "bridge", "-p", "5353:53/udp") as container:
        with python_in(container, UDP_SERVER) as server:
            assert server.stdout.readline() == "ready\n"
            inside = ["nsenter", f"--target={container.child()}", "--net", "ip", "route", "get",
                      WORLD]
            for port, learned in ((4445, False), (4444, True)):
                said_at(host, "world", fill_in(TOO_LARGE, host=HOST, client=WORLD, port=port))
                assert wait_until(lambda: "mtu 1000" in subprocess.check_output(inside, text=True),
                                  seconds=1) == learned


FORGE = SUM16 + """
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(("eth0", 0))
    for source in {sources}:
        udp = struct.pack("!HHHH", 4444, 5353, 8 + {size}, 0) + b"x00001"[:{size}]
        raw.send(bytes.fromhex("{mac}") + bytes(6) + b"\\x08\\x00" +
                 ip_header(28 + {size}, 17, source, "{host}") + udp)"""


def forge(host: Host, sources: list[str], target: str, size: int) -> None:
    """Datagrams from the world for port 5353."""
    links = json.loads(host.do("ip", "-json", "link", "show", "up0"))
    said_at(host, "world", fill_in(FORGE, mac=links[0]["address"].replace(":", ""),
                                   sources=sources, host=target, size=size))


def test_no_forged_source_comes_in_from_outside(host):
    """The shortcut is in front of the kernel's own checks, so it has to make them itself."""
    with sleeping(host, "bridge", "-p", "5353:53/udp") as container:
        with python_in(container, UDP_SERVER) as server:
            assert server.stdout.readline() == "ready\n"
            sources = ["127.0.0.1", "10.79.0.1", "10.79.0.2", "10.79.0.77", HOST, "0.0.0.0",
                       "224.0.0.1", "255.255.255.255", WORLD]
            forge(host, sources, HOST, 6)
            assert server.stdout.readline() == f"6 {WORLD}\n", "only the last one is good"


def test_nothing_comes_in_from_outside_for_a_port_at_the_loopback(host):
    """The kernel drops it, as RFC 1122 wants in 3.2.1.3, but the shortcut is in front of it."""
    with sleeping(host, "bridge", "-p", "127.0.0.1:5353:53/udp", "-p",
                  f"{HOST}:5353:53/udp") as container:
        with python_in(container, UDP_SERVER) as server:
            assert server.stdout.readline() == "ready\n"
            forge(host, [WORLD], "127.0.0.1", 5)
            forge(host, [WORLD], HOST, 6)
            assert server.stdout.readline() == f"6 {WORLD}\n", "only the last one is good"


def test_only_replies_take_it(host):
    """What the container begins itself goes by NAT, even from the port that is published."""
    with sleeping(host, "bridge", "-p", "8080:80") as container:
        script = f"""if True:
            import socket
            server = socket.create_server(("{WORLD}", 9000)); print("ready", flush=True)
            print(server.accept()[1][0])"""
        with python_at(host, "world", script) as server:
            assert server.stdout.readline() == "ready\n"
            with python_in(container, "import socket; socket.create_connection("
                                      f"('{WORLD}', 9000), 2, ('0.0.0.0', 80))") as client:
                assert client.wait(TIMEOUT) == 0
            assert server.stdout.readline().strip() == HOST
        assert "dport=9000" in tracked(host)


def test_a_port_at_an_address_and_a_range(host, page):
    with serve(host, "bridge", page, "-p", f"{HOST}:8080:80", "-p", "127.0.0.1:8081:80",
               "-p", "9000-9001:80-81"):
        assert fetch(host, f"http://{HOST}:8080/", "world") == text_of(page)
        assert fetch(host, f"http://{HOST}:9000/", "world") == text_of(page)
        assert fetch(host, f"http://{HOST}:8081/", "world") == ""
        assert reaches(host, "http://127.0.0.1:8081/", page)
        assert reaches(host, f"http://{HOST}:8080/", page), "from the host itself"
        assert fetch(host, "http://127.0.0.1:8080/") == ""


def test_containers_reach_it_and_so_does_it_itself(host, page):
    with serve(host, "bridge", page, "-p", "8080:80") as process:
        out = host.output("--network", "bridge", "wget", "-q", "-O", "-", f"http://{HOST}:8080/")
        assert out + "\n" == text_of(page)
        inside = ["nsenter", f"--target={process.child()}", "--net", "curl", "--silent",
                  "--max-time", "2", f"http://{HOST}:8080/"]
        assert subprocess.check_output(inside, text=True) == text_of(page)


def test_two_containers_each_have_their_own(host, page):
    with serve(host, "bridge", page, "-p", "8080:80") as first:
        with serve(host, "bridge", page, "-p", "8081:80"):
            assert fetch(host, f"http://{HOST}:8080/", "world") == text_of(page)
            assert fetch(host, f"http://{HOST}:8081/", "world") == text_of(page)
            assert end(first) == 137
            assert fetch(host, f"http://{HOST}:8080/", "world") == ""
            assert fetch(host, f"http://{HOST}:8081/", "world") == text_of(page)
        assert "dport=8081" not in tracked(host)


@pytest.mark.parametrize("killed", ["the command", "the stage"])
def test_nothing_is_left(host, page, killed):
    before = host.state()
    with serve(host, "bridge", page, "-p", "8080:80") as process:
        assert [filters(host, link) for link in ("up0", "hood1", "hood0")] == [1, 1, 0]
        if killed == "the stage":
            process.kill()
        else:
            end(process)
        check_that_nothing_is_left(host, before)


def test_the_next_start_removes_what_is_left_when_all_are_killed(host, page):
    """And until then it does no harm: the port is another container's."""
    before = host.state()
    with serve(host, "bridge", page, "-p", "8080:80") as process:
        for janitor in children_of(process.pid)[1:]:
            os.kill(janitor, signal.SIGKILL)
        process.kill()
    assert wait_until(lambda: "hood1" not in host.state()["links"]), "it goes with its namespace"
    assert filters(host, "up0") == 1
    with serve(host, "bridge", page, "-p", "8080:80", "--shortcut", "off") as second:
        assert fetch(host, f"http://{HOST}:8080/", "world") == text_of(page)
        assert filters(host, "up0") == 1
        end(second)
    with serve(host, "bridge", page, "-p", "8080:80") as third:
        assert fetch(host, f"http://{HOST}:8080/", "world") == text_of(page)
        assert filters(host, "up0") == 1
        end(third)
    check_that_nothing_is_left(host, before)


def test_what_others_have_attached_stays(host, page):
    host.do("tc", "qdisc", "add", "dev", "up0", "clsact")
    host.do("tc", "filter", "add", "dev", "up0", "egress", "u32", "match", "u32", "0", "0",
            "flowid", "1:1")
    before = host.state()
    with serve(host, "bridge", page, "-p", "8080:80") as process:
        assert fetch(host, f"http://{HOST}:8080/", "world") == text_of(page)
        end(process)
    check_that_nothing_is_left(host, before)


def test_verbose_tells_what_took_it(host, page):
    with host.start("--network", "bridge", "-v", f"{page}:/www:ro", "-p", "8080:80", "--verbose",
                    "sh", "-c", "httpd -p 80 -h /www && echo ready && read line",
                    stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        assert fetch(host, f"http://{HOST}:8080/", "world") == text_of(page)
        told = process.communicate("end\n", timeout=TIMEOUT)[1]
    assert "rtnetlink(NEWTFILTER up0, ingress, bpf from_outside) = 0" in told
    took = re.search("the shortcut took ([0-9]+) packets in and ([0-9]+) out", told)
    assert min(map(int, took.groups())) >= 4, told


@pytest.mark.as_shipped
def test_what_the_kernel_cannot_do_goes_the_long_way_with_a_line(host, page):
    strace = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=bpf", "-e",
              "inject=bpf:error=EPERM"]
    with host.start("--network", "bridge", "-v", f"{page}:/www:ro", "-p", "8080:80", "sh", "-c",
                    "httpd -p 80 -h /www && echo ready && exec sleep 1000",
                    before=strace) as process:
        assert process.stdout.readline() == "ready\n"
        assert fetch(host, f"http://{HOST}:8080/", "world") == text_of(page)
        assert "dport=8080" in tracked(host)
        told = process.stderr.readline(), process.stderr.readline()
        assert told[0].startswith(f"{STAGE}: no shortcut for the published ports: bpf("), told
        assert told[0].endswith("Operation not permitted\n")
        assert told[1] == "hint: --shortcut off does without it, and without this line\n"
        os.kill(children_of(process.child())[0], signal.SIGKILL)
        process.wait(TIMEOUT)


@pytest.mark.as_shipped
def test_there_is_a_line_only_if_a_port_is_published(host):
    for options in (["--network", "bridge"], ["--network", "none"]):
        result = host.run(*options, "true", before=["strace", "-f", "-qq", "-o", "/dev/null", "-e",
                                                    "inject=bpf:error=EPERM"])
        assert (result.returncode, result.stderr) == (0, "")


def test_another_word_is_refused(host):
    result = host.run("--shortcut", "perhaps", "true")
    assert (result.returncode, result.stdout) == (125, "")
    assert "--shortcut perhaps: choose on or off" in result.stderr
