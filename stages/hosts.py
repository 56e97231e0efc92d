"""A host of the tests' own, with a world around it, and what the tests of the network share."""

from __future__ import annotations

import contextlib
import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from conftest import NEEDS_ROOT, TIMEOUT, Caller, Started, children_of, name_of, wait_until

STAGE = "08c_network"  # unless a test says another one
HOST = "198.51.100.1"  # the test's host, see RFC 5737
WORLD = "198.51.100.2"  # a machine beyond it
HELPERS = ["pasta", "slirp4netns"]
CASES = [("root", "bridge"), *((who, mode) for who in ("root", "user") for mode in HELPERS)]
FOR_EACH_NETWORK = pytest.mark.parametrize("caller, mode", CASES, indirect=["caller"])

os.environ["PATH"] += ":/usr/sbin:/sbin"  # ip and nft, which we call as root


@dataclass(frozen=True)
class Host:
    """A host for containers, with a world around it: network namespaces of the test's own.

    This machine's network does not change, and other programs' changes to it are not visible.
    """

    holder: int  # a process in its namespaces
    world: int
    caller: Caller
    stage: str = STAGE

    def enter(self, *words: str) -> list[str]:
        return ["nsenter", f"--target={self.holder}", "--net", "--mount", *words]

    def do(self, *words: str, where: str = "host") -> str:
        """Runs a program on the host, or in the world, as root; returns its output."""
        enter = self.enter() if where == "host" else ["nsenter", f"--target={self.world}", "--net"]
        return subprocess.run([*enter, *words], capture_output=True, text=True, check=True,
                              timeout=TIMEOUT).stdout

    def start(self, *words: str | os.PathLike, **how) -> Started:
        before = self.enter()
        if self.caller.uid != 0:
            user = str(self.caller.uid)
            before += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
        before += how.pop("before", [])
        command = [*before, self.caller.program(self.stage), *map(str, words)]
        return Started(command, cwd="/", env=self.caller.environment(), text=True,
                       **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                          "stderr": subprocess.PIPE, **how})

    def run(self, *words: str | os.PathLike, **how) -> subprocess.CompletedProcess:
        with self.start(*words, **how) as process:
            out, err = process.communicate(timeout=TIMEOUT)
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def output(self, *words: str | os.PathLike) -> str:
        result = self.run(*words)
        assert result.returncode == 0, result.stderr
        return result.stdout.rstrip("\n")

    def forwarding(self) -> str:
        """Which links of the host forward: "up0 1". A link may go while grep(1) reads."""
        return self.do("sh", "-c", "cd /proc/sys/net/ipv4/conf; grep -Hs . */forwarding || true")

    def state(self) -> dict[str, str]:
        """Everything that a container could leave on the host."""
        return {"links": self.do("sh", "-c", "ip -brief link | cut -d' ' -f1"),
                "filters": self.do("sh", "-c", "tc qdisc; tc filter show dev up0 ingress"),
                "rules": self.do("nft", "list", "ruleset"),
                "forwarding": self.forwarding(),
                "files": self.do("sh", "-c", "ls -d /run/*hood* /run/*hood*/* /tmp/slirp4netns-*"
                                             " 2>/dev/null || true"),
                "sockets": self.do("ss", "-Hlntu"),
                "routes": self.do("ip", "route")}


SET_UP = f"""
    mount -t tmpfs tmpfs /run
    mknod -m 666 /run/tun c 10 200  # with udev, every user may open it
    mount --bind /run/tun /dev/net/tun
    ip link set lo up
    ip link add up0 type veth peer name eth0 netns $0
    ip address add {HOST}/24 dev up0
    ip link set up0 up
    ip route add default via {WORLD}
    ip address add 2001:db8::1/64 dev up0 nodad
    ip -6 route add default via 2001:db8::2
    nsenter --target=$0 --net sh -c '
        ip link set lo up
        ip address add {WORLD}/24 dev eth0
        ip link set eth0 up'
"""


def janitor_of(process: Started) -> int:
    """The stage's other child: the first is the container."""
    return next(pid for pid in children_of(process.pid) if name_of(pid) == STAGE[:15])


def hold_namespaces(*options: str) -> subprocess.Popen:
    """A process that does nothing, in namespaces of its own."""
    process = subprocess.Popen(["unshare", "--net", *options, "sh", "-c",
                                "echo ready; exec sleep 1000"], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.fixture
def make_host() -> Iterator:
    """Makes a Host for a caller. Whatever runs there ends with the test."""
    if os.geteuid() != 0:
        pytest.skip(NEEDS_ROOT)
    holders = []

    def make(caller: Caller) -> Host:
        world, host = hold_namespaces(), hold_namespaces("--mount", "--propagation=private")
        holders.extend([world, host])
        made = Host(host.pid, world.pid, caller)
        made.do("sh", "-ec", SET_UP, str(world.pid))
        return made

    yield make
    for holder in holders:
        holder.kill()
        holder.wait()
        holder.stdout.close()


@pytest.fixture
def host(make_host, caller) -> Host:
    return make_host(caller)


@pytest.fixture
def root_host(make_host, root) -> Host:
    return make_host(root)


@pytest.fixture
def user_host(make_host, user) -> Host:
    return make_host(user)


@pytest.fixture
def page() -> Iterator[pathlib.Path]:
    """A directory with a page that no other server has."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="page-", dir="/tmp"))
    (folder / "index.html").write_text(f"page {secrets.token_hex(8)}\n")
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    yield folder
    shutil.rmtree(folder)


def text_of(page: pathlib.Path) -> str:
    return (page / "index.html").read_text()


class Server:
    """busybox httpd on the host or in the world: real, and not ours."""

    def __init__(self, host: Host, where: str, address: str, page: pathlib.Path) -> None:
        pid = host.holder if where == "host" else host.world
        self.process = subprocess.Popen(["nsenter", f"--target={pid}", "--net", "busybox", "httpd",
                                         "-f", "-p", address, "-h", str(page)])
        port = address.rpartition(":")[2]
        assert wait_until(lambda: f":{port} " in host.do("ss", "-Hlnt", where=where))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exception) -> None:
        self.process.kill()
        self.process.wait()


def fetch(host: Host, url: str, where: str = "host") -> str:
    """The page at `url`, or "" if it cannot be fetched."""
    enter = host.enter() if where == "host" else ["nsenter", f"--target={host.world}", "--net"]
    return subprocess.run([*enter, "curl", "--silent", "--max-time", "2", url], text=True,
                          capture_output=True, check=False, timeout=TIMEOUT).stdout


def reaches(host: Host, url: str, page: pathlib.Path, where: str = "host") -> bool:
    """Whether the page is there, within moments."""
    return wait_until(lambda: fetch(host, url, where) == text_of(page))


def serve(host: Host, mode: str, page: pathlib.Path, *options: str) -> Started:
    """A container with a web server at port 80 that is ready."""
    process = host.start("--network", mode, "-v", f"{page}:/www:ro", *options, "sh", "-c",
                         "httpd -p 80 -h /www && echo ready && exec sleep 1000")
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def end(process: Started) -> int:
    """Kills the container but not the stage, which has to clean up."""
    os.kill(process.child(), signal.SIGKILL)
    return process.wait(TIMEOUT)


def sleeping(host: Host, mode: str, *options: str) -> Started:
    """A container that does nothing."""
    process = host.start("--network", mode, *options, "sh", "-c", "echo ready; exec sleep 1000")
    assert process.stdout.readline() == "ready\n", process.stderr.read()
    return process


def python_in(container: Started, script: str) -> Started:
    """The host's Python in the network namespace of the container."""
    return Started(["nsenter", f"--target={container.child()}", "--net",
                    "/usr/bin/python3", "-c", script], stdout=subprocess.PIPE, text=True)


def check_that_nothing_is_left(host: Host, before: dict[str, str]) -> None:
    assert wait_until(lambda: host.state() == before), host.state()


@contextlib.contextmanager
def another_nft(host: Host, script: str) -> Iterator[dict]:
    """A shell script in place of nft. Returns the words that start a stage so that the script is
    found first."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nft-", dir="/tmp"))
    (folder / "nft").write_text(f"#!/bin/sh\nhere={folder}\n{script}\n")
    (folder / "nft").chmod(0o755)
    path = f"{folder}:{host.caller.environment()['PATH']}"
    try:
        yield {"before": ["env", f"PATH={path}"]}
    finally:
        shutil.rmtree(folder)


THROW = """if True:
    import socket, struct, sys
    def sum16(data):
        total = sum(struct.unpack(f"!{len(data) // 2}H", data))
        total = (total >> 16) + (total & 0xffff)
        return ~(total + (total >> 16)) & 0xffff
    payload = b"stranger"
    udp = struct.pack("!HHHH", 1234, 9999, 8 + len(payload), 0) + payload
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0,
                     socket.inet_aton("SOURCE"), socket.inet_aton("TARGET"))
    ip = ip[:10] + struct.pack("!H", sum16(ip)) + ip[12:]
    s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0))
    mac = bytes.fromhex("024f0a4f0001") + bytes.fromhex("024f0a4f0002")
    for i in range(3): s.send(mac + b"\\x08\\x00" + ip + udp)"""


def caught(host: Host, bound: str, throw: Callable[[], None]) -> str:
    """What a server on the host gets of what is thrown at its port 9999."""
    catch = f"""if True:
        import socket
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1)
        s.bind(("{bound}", 9999)); print("ready", flush=True)
        try: print(s.recv(100).decode())
        except TimeoutError: print("nothing")"""
    with Started(host.enter("/usr/bin/python3", "-c", catch), text=True,
                 stdout=subprocess.PIPE) as catcher:
        assert catcher.stdout.readline() == "ready\n"
        throw()
        return catcher.stdout.readline().strip()


def thrown(host: Host, container: Started, source: str, target: str) -> str:
    """What a server on the host gets of a packet that is made by hand in the container."""
    def throw() -> None:
        script = THROW.replace("SOURCE", source).replace("TARGET", target)
        with python_in(container, script) as thrower:
            assert thrower.wait(TIMEOUT) == 0
    return caught(host, target if target.startswith("127.") else "0.0.0.0", throw)
