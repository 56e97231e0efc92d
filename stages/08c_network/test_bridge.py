"""Stage 08c: the bridge, on a host of the tests' own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess

import pytest
from conftest import TIMEOUT, Started, processes_with, wait_until
from hosts import (HOST, check_that_nothing_is_left, end, fetch, hold_namespaces, python_in, serve,
                   sleeping, text_of)

pytest_plugins = ["hosts"]  # its fixtures


def test_containers_find_each_other_by_name(root_host, page):
    """The one that started earlier, too, knows the later one's name."""
    script = """echo ready; read line; wget -q -O - http://web/ && cat /etc/hosts"""
    with root_host.start("--network", "bridge", "--hostname", "early", "sh", "-c", script,
                         stdin=subprocess.PIPE) as early:
        assert early.stdout.readline() == "ready\n"
        with serve(root_host, "bridge", page, "--hostname", "web") as web:
            out, err = early.communicate("go\n", timeout=TIMEOUT)
            assert out.startswith(text_of(page)), err
            assert "10.79.0.2\tearly\n10.79.0.3\tweb\n" in out
            assert end(web) == 137
        hosts = root_host.output("--network", "bridge", "--hostname", "late", "cat", "/etc/hosts")
        assert [line.split("\t")[1] for line in hosts.splitlines()[2:]] == ["late"]


def test_containers_meet_only_at_the_bridge(root_host, page):
    with serve(root_host, "bridge", page):
        assert root_host.run("wget", "-q", "-O", "-", "http://10.79.0.2/").returncode == 1
        other = root_host.run("--network", "bridge", "wget", "-q", "-O", "-", "http://10.79.0.2/")
        assert other.stdout == text_of(page)


def test_a_port_that_is_not_published_is_not_reached_from_outside(root_host, page):
    with serve(root_host, "bridge", page, "-p", "8080:80"):
        root_host.do("ip", "route", "add", "10.79.0.0/24", "via", HOST, where="world")
        assert fetch(root_host, "http://10.79.0.2/") == text_of(page), "the host itself may"
        assert fetch(root_host, "http://10.79.0.2/", "world") == ""
        assert fetch(root_host, f"http://{HOST}:8080/", "world") == text_of(page)


def test_a_published_port_is_reached_from_a_container(root_host, page):
    """At the host's addresses, by another one and by itself."""
    with serve(root_host, "bridge", page, "-p", "8080:80") as process:
        for address in ("10.79.0.1", HOST):
            out = root_host.output("--network", "bridge", "wget", "-q", "-O", "-",
                                   f"http://{address}:8080/")
            assert out + "\n" == text_of(page)
        inside = ["nsenter", f"--target={process.child()}", "--net", "curl", "--silent",
                  "--max-time", "2", f"http://{HOST}:8080/"]
        assert subprocess.check_output(inside, text=True) == text_of(page)


def test_no_packet_gets_to_the_hosts_loopback(root_host):
    """Published ports need route_localnet, which alone would let this in."""
    catch = """if True:
        import socket
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1.5)
        s.bind(("127.0.0.1", 9999)); print("ready", flush=True)
        try: print(s.recv(100).decode())
        except TimeoutError: print("nothing")"""
    throw = """if True:
        import socket, struct
        def sum16(data):
            total = sum(struct.unpack(f"!{len(data) // 2}H", data))
            total = (total >> 16) + (total & 0xffff)
            return ~(total + (total >> 16)) & 0xffff
        payload = b"stranger"
        udp = struct.pack("!HHHH", 1234, 9999, 8 + len(payload), 0) + payload
        ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
                         socket.inet_aton("10.79.0.2"), socket.inet_aton("127.0.0.1"))
        ip = ip[:10] + struct.pack("!H", sum16(ip)) + ip[12:]
        s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0))
        mac = bytes.fromhex("024f0a4f0001") + bytes.fromhex("024f0a4f0002")
        for i in range(3): s.send(mac + b"\\x08\\x00" + ip + udp)"""

    def thrown() -> str:
        with Started(root_host.enter("/usr/bin/python3", "-c", catch), text=True,
                     stdout=subprocess.PIPE) as catcher:
            assert catcher.stdout.readline() == "ready\n"
            with sleeping(root_host, "bridge") as container:
                if without_rule:
                    root_host.do("nft", "flush", "chain", "ip", "containers_under_the_hood",
                                 "to_the_loopback")
                with python_in(container, throw) as thrower:
                    assert thrower.wait(TIMEOUT) == 0
                return catcher.stdout.readline()

    without_rule = False
    assert thrown() == "nothing\n"
    without_rule = True
    assert thrown() == "stranger\n", "the packet is good: only the rule keeps it out"


def test_nothing_is_forwarded_that_was_not_before(root_host):
    """The world's packets are not passed on to elsewhere, though ip_forward is on now."""
    def knows_the_way(address: str) -> bool:
        done = subprocess.run(["nsenter", f"--target={root_host.world}", "--net", "ping", "-c1",
                               "-W1", address], capture_output=True, check=False)
        return done.returncode == 0

    elsewhere = hold_namespaces()
    try:
        root_host.do("sh", "-ec", """
            ip link add else0 type veth peer name eth0 netns $0
            ip address add 203.0.113.1/24 dev else0; ip link set else0 up
            nsenter --target=$0 --net sh -c '
                ip address add 203.0.113.2/24 dev eth0; ip link set eth0 up
                ip route add default via 203.0.113.1'""", str(elsewhere.pid))
        root_host.do("ip", "route", "add", "203.0.113.0/24", "via", HOST, where="world")
        if shutil.which("ping") is None:
            pytest.skip("there is no ping")
        with sleeping(root_host, "bridge"):
            assert root_host.do("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"
            assert not knows_the_way("203.0.113.2")
            root_host.do("nft", "flush", "chain", "ip", "containers_under_the_hood", "forwarded")
            assert knows_the_way("203.0.113.2"), "only the rule keeps it out"
    finally:
        elsewhere.kill()
        elsewhere.wait()
        elsewhere.stdout.close()


def test_a_host_that_forwards_goes_on_to(root_host):
    root_host.do("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    before = root_host.state()
    assert root_host.run("--network", "bridge", "true").returncode == 0
    assert root_host.state() == before


def test_what_a_killed_janitor_left_is_removed_by_the_next(root_host, page):
    """The whole family is killed at once: what then stays goes with the next container."""
    before = root_host.state()
    with serve(root_host, "bridge", page, "--hostname", "dead", "-p", "8080:80") as process:
        for pid in [*processes_with(str(page)), process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
    assert wait_until(lambda: "hood1" not in root_host.state()["links"])
    assert "8080" in root_host.state()["rules"], "nobody was there to remove it"
    out = root_host.output("--network", "bridge", "-p", "8080:80", "cat", "/etc/hosts")
    assert "dead" not in out
    check_that_nothing_is_left(root_host, before)


def test_fifty_at_once(root_host):
    """Distinct addresses, all reachable, and nothing left."""
    before = root_host.state()
    count = 50
    processes = [root_host.start("--network", "bridge", "--hostname", f"c{number}", "sh", "-c",
                                 "httpd -p 80 -h /etc; hostname -i; exec sleep 1000")
                 for number in range(count)]
    try:
        addresses = {}
        for number, process in enumerate(processes):
            addresses[f"c{number}"] = process.stdout.readline().strip()
        assert len(set(addresses.values())) == count, addresses
        script = f"""
            for n in $(seq 0 {count - 1}); do wget -q -O - http://c$n/hostname >/dev/null &&
                echo c$n; done"""
        reached = root_host.output("--network", "bridge", "sh", "-c",
                                   script.replace("/hostname", "/hosts"))
        assert reached.split() == list(addresses)
    finally:
        for process in processes:
            os.kill(process.child(), signal.SIGKILL)
        assert [process.wait(TIMEOUT) for process in processes] == [137] * count
        for process in processes:
            process.stdout.close()
            process.stderr.close()
    check_that_nothing_is_left(root_host, before)
