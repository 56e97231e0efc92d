"""Stage 08c: without a network, and with options that are wrong or that a host cannot meet."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator

import pytest
from conftest import Started, wait_until
from hosts import FOR_EACH_NETWORK, HELPERS, STAGE, Host, reaches, text_of

pytest_plugins = ["hosts"]  # its fixtures

# --- none ----------------------------------------------------------------------------------------


def test_by_default_there_is_only_lo(caller):
    script = "ls /sys/class/net; cat /proc/net/dev | grep -c :; ip route; cat /etc/resolv.conf"
    assert caller.output(STAGE, "sh", "-c", script).split() == ["lo", "1"]


def test_lo_works(caller):
    script = """
        mkdir /tmp/www; echo hello >/tmp/www/index.html; httpd -p 127.0.0.1:80 -h /tmp/www
        wget -q -O - http://localhost/"""
    assert caller.output(STAGE, "sh", "-c", script) == "hello"


def test_the_container_knows_its_own_name(caller):
    hosts = caller.output(STAGE, "--hostname", "me", "cat", "/etc/hosts").splitlines()
    assert "127.0.0.1\tlocalhost me" in hosts


def test_its_namespace_is_its_own(caller):
    with caller.start(STAGE, "sh", "-c", "echo ready; read wait", stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        own = os.readlink(f"/proc/{process.child()}/ns/net")
    assert own != os.readlink("/proc/self/ns/net")


def test_the_hosts_loopback_is_refused(caller, page):
    """The demonstration from which this project started: "localhost" works on the host, and is
    refused inside."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(["busybox", "httpd", "-f", "-p", f"127.0.0.1:{port}", "-h", page])
    try:
        def is_up() -> bool:
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0
        assert wait_until(is_up)
        result = caller.run(STAGE, "wget", "-q", "-O", "-", f"http://127.0.0.1:{port}/")
        assert (result.returncode, result.stdout) == (1, "")
        assert "Connection refused" in result.stderr
        result = caller.run(STAGE, "--network", "host", "wget", "-q", "-O", "-",
                            f"http://127.0.0.1:{port}/")
        assert result.stdout == text_of(page)
    finally:
        server.kill()
        server.wait()


def test_host_is_warned_of(caller):
    result = caller.run(STAGE, "--network", "host", "readlink", "/proc/self/ns/net")
    assert result.returncode == 0
    assert result.stdout.strip() == os.readlink("/proc/self/ns/net")
    line, = result.stderr.splitlines()
    assert line.startswith(f"{STAGE}: --network host: the container shares the host's network")


# --- Bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize("words, message, hint", [
    (["--network", "bridges"],
     "--network bridges: unknown network; choose none, host, bridge, pasta or slirp4netns", ""),
    (["-p", "80:"], "--publish 80:: '' is not a port number between 1 and 65535", ""),
    (["-p", "[::1]:80:80"], "--publish [::1]:80:80: ports are published on IPv4 addresses only",
     ""),
    (["-p", "localhost:80:80"], "--publish localhost:80:80: 'localhost' is not an IPv4 address",
     ""),
    (["-p", "80-90:80-85"],
     "--publish 80-90:80-85: 11 ports of the host for 6 of the container", ""),
    (["-p", "0:80"], "--publish 0:80: '0' is not a port number between 1 and 65535", ""),
    (["-p", "8080:70000"],
     "--publish 8080:70000: '70000' is not a port number between 1 and 65535", ""),
    (["-p", "abc:80"], "--publish abc:80: 'abc' is not a port number between 1 and 65535", ""),
    (["-p", "8080:80/sctp"],
     "--publish 8080:80/sctp: is not [[ADDRESS:]HOST:]CONTAINER[/udp], as in 8080:80", ""),
    (["-p", "8080:80", "-p", "8080:81"],
     "--publish 8080:81: port 8080 of the host is published twice", ""),
    (["--network", "none", "-p", "8080:80"], "--publish does not work with --network none",
     "hint: leave --network out"),
    (["--network", "host", "-p", "8080:80"], "--publish does not work with --network host",
     "hint: the container's ports are the host's already: leave --publish out"),
])
def test_a_wrong_option_is_refused(caller, words, message, hint):
    result = caller.run(STAGE, *words, "true")
    assert result.returncode == 125
    assert result.stderr.splitlines() == [f"{STAGE}: {message}"] + ([hint] if hint else [])


@FOR_EACH_NETWORK
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_port_that_is_taken_is_refused(host, mode, protocol):
    kind = "SOCK_STREAM" if protocol == "tcp" else "SOCK_DGRAM"
    script = f"""if True:
        import socket
        taken = socket.socket(socket.AF_INET, socket.{kind})
        taken.bind(("0.0.0.0", 8080))
        if "{protocol}" == "tcp": taken.listen()
        print("ready", flush=True)
        input()"""
    with Started(host.enter("/usr/bin/python3", "-c", script), stdin=subprocess.PIPE,
                 stdout=subprocess.PIPE, text=True) as taker:
        assert taker.stdout.readline() == "ready\n"
        before = host.state()
        suffix = "" if protocol == "tcp" else "/udp"
        result = host.run("--network", mode, "-p", f"8080:80{suffix}", "true")
        assert result.returncode == 125
        message, hint = result.stderr.splitlines()
        assert message == (f"{STAGE}: --publish 8080:80{suffix}: port 8080 of the host: "
                           "Address already in use")
        assert hint == ("hint: see which process has it:  ss --listening --numeric --processes "
                        f"--{protocol} 'sport = 8080'")
        assert host.state() == before


def test_an_ordinary_user_gets_no_bridge_and_is_told_what_to_take(user):
    result = user.run(STAGE, "--network", "bridge", "true")
    assert result.returncode == 125
    assert result.stderr.splitlines() == [
        f"{STAGE}: --network bridge needs root: only root may create links and rules on the host",
        "hint: an ordinary user can use --network pasta"]


def test_an_ordinary_user_gets_no_low_port(user_host):
    result = user_host.run("--network", "pasta", "-p", "80:80", "true")
    assert result.returncode == 125
    assert result.stderr.splitlines() == [
        f"{STAGE}: --publish 80:80: port 80 of the host: Permission denied",
        "hint: only root may publish ports below 1024; choose another, as in --publish 8080:80"]


@contextlib.contextmanager
def without_program(host: Host, name: str) -> Iterator[None]:
    """Covers a program of the host by a file that cannot be executed."""
    path = shutil.which(name)
    assert path is not None
    host.do("mount", "--bind", "/dev/null", path)
    yield
    host.do("umount", path)


@FOR_EACH_NETWORK
def test_a_missing_program_is_named(host, mode):
    program, hint = {
        "bridge": ("nft", "sudo apt-get install nftables"),
        "pasta": ("pasta", "sudo apt-get install passt, or start the container without a network:"
                           " --network none"),
        "slirp4netns": ("slirp4netns",
                        "sudo apt-get install slirp4netns, or start the container without a"
                        " network: --network none"),
    }[mode]
    before = host.state()
    with without_program(host, program):
        result = host.run("--network", mode, "true")
    assert result.returncode == 125
    message, told = result.stderr.splitlines()
    assert message.startswith(f"{STAGE}: --network {mode}: the program {program} is not installed")
    assert told == f"hint: {hint}"
    assert host.state() == before


def test_publishing_as_a_user_takes_slirp4netns_where_there_is_no_pasta(user_host, page):
    with without_program(user_host, "pasta"):
        with user_host.start("-p", "8080:80", "-v", f"{page}:/www", "httpd", "-f", "-h", "/www"):
            assert reaches(user_host, "http://127.0.0.1:8080/", page)
        with without_program(user_host, "slirp4netns"):
            result = user_host.run("-p", "8081:80", "true")
    assert result.returncode == 125
    assert result.stderr.splitlines() == [
        f"{STAGE}: --publish: without root this needs pasta or slirp4netns",
        "hint: sudo apt-get install passt"]


@pytest.mark.parametrize("mode", HELPERS)
@pytest.mark.parametrize("state", ["missing", "private"])
def test_without_dev_net_tun_the_reason_is_named(user_host, mode, state):
    if state == "missing":
        user_host.do("mount", "-t", "tmpfs", "tmpfs", "/dev/net")
    else:
        user_host.do("chmod", "600", "/dev/net/tun")
    result = user_host.run("--network", mode, "true")
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    why = "No such file or directory" if state == "missing" else "Permission denied"
    assert message == f"{STAGE}: --network {mode}: open(/dev/net/tun): {why}"
    assert hint == ("hint: sudo modprobe tun; in Docker: docker run --device /dev/net/tun"
                    if state == "missing" else
                    "hint: allow all users to open it: sudo chmod 0666 /dev/net/tun")


def test_a_helper_that_fails_is_quoted(user_host):
    """pasta takes its addresses from the host's default route."""
    user_host.do("ip", "route", "del", "default")
    user_host.do("ip", "-6", "route", "del", "default")
    before = user_host.state()
    result = user_host.run("--network", "pasta", "true")
    if result.returncode == 0:
        pytest.skip("this pasta does without a default route")
    assert result.returncode == 125
    line, hint = result.stderr.splitlines()
    assert line.startswith(f"{STAGE}: pasta: ")
    assert hint == ("hint: this host has no default route, which this version of pasta needs;"
                    " --network slirp4netns does not")
    assert user_host.state() == before


def test_a_full_pool_is_told(root_host):
    """253 links with the containers' names."""
    names = [f"hood{number}" for number in range(1, 254)] + ["extra"]
    batch = "\n".join(f"link add {a} type veth peer name {b}"
                      for a, b in zip(names[::2], names[1::2]))
    subprocess.run(root_host.enter("ip", "-batch", "-"), input=batch, text=True, check=True)
    before = root_host.state()
    result = root_host.run("--network", "bridge", "true")
    assert result.returncode == 125
    assert result.stderr.splitlines() == [
        f"{STAGE}: all 253 addresses of 10.79.0.0/24 are taken",
        "hint: end a container; ip link show master hood0 lists them"]
    assert root_host.state() == before
    root_host.do("ip", "link", "del", "hood253")
    assert "10.79.0.254/24" in root_host.output("--network", "bridge", "ip", "address")


def test_a_subnet_that_the_host_uses_is_told(root_host):
    root_host.do("ip", "address", "add", "10.79.0.77/24", "dev", "up0")
    before = root_host.state()
    result = root_host.run("--network", "bridge", "true")
    assert result.returncode == 125
    assert result.stderr.splitlines() == [
        f"{STAGE}: 10.79.0.0/24 is in use already, by up0",
        "hint: use another network: --network pasta"]
    assert root_host.state() == before


def test_a_name_that_would_spoil_the_others_hosts_file_is_refused(root_host):
    result = root_host.run("--network", "bridge", "--hostname", "a\n1.2.3.4 debian.org", "true")
    assert result.returncode == 125
    assert "other containers at the bridge cannot look up this name" in result.stderr


@pytest.mark.parametrize("mode, owner", [(0o775, 0), (0o757, 0), (0o755, 1)])
def test_a_shared_folder_that_is_not_roots_alone_is_refused(root_host, mode, owner):
    """Others could replace the hosts file and the lock in it."""
    folder = "/run/containers-under-the-hood"
    root_host.do("sh", "-c", f"umask 0; mkdir -m {mode:o} {folder}; chown {owner} {folder}")
    result = root_host.run("--network", "bridge", "true")
    assert result.returncode == 125
    assert set(result.stderr.splitlines()) == {  # the janitor says the same
        f"{STAGE}: {folder} is not private to root", f"hint: rm -r {folder}"}
