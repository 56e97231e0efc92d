"""Stage 08c: a network of its own, and ways out of it; on a host of the tests' own."""

from __future__ import annotations

import os
import pathlib
import secrets
import shutil
import signal
import subprocess
import tempfile

import pytest
from conftest import TIMEOUT, Started, name_of, processes_with, wait_until
from hosts import (FOR_EACH_NETWORK, HELPERS, HOST, STAGE, WORLD, Server,
                   check_that_nothing_is_left, end, fetch, janitor_of, python_in, reaches, serve,
                   sleeping, text_of)

pytest_plugins = ["hosts"]  # its fixtures

# --- Each network --------------------------------------------------------------------------------


@FOR_EACH_NETWORK
def test_the_world_is_reached(host, mode, page):
    with Server(host, "world", f"{WORLD}:80", page):
        out = host.output("--network", mode, "wget", "-q", "-O", "-", f"http://{WORLD}/")
    assert out + "\n" == text_of(page)


@FOR_EACH_NETWORK
def test_a_published_port_is_reached_from_everywhere(host, mode, page):
    before = host.state()
    with serve(host, mode, page, "-p", "8080:80") as process:
        for name in ("localhost", "127.0.0.1", HOST):
            assert reaches(host, f"http://{name}:8080/", page), name
        assert reaches(host, f"http://{HOST}:8080/", page, "world")
        assert end(process) == 137
    check_that_nothing_is_left(host, before)


@FOR_EACH_NETWORK
def test_a_published_port_refuses_ipv6(host, mode, page):
    """If localhost resolves to ::1 first, a client that is refused there tries 127.0.0.1; other
    errors stop it."""
    with serve(host, mode, page, "-p", "8080:80"):
        asked = subprocess.run(host.enter("curl", "-sS", "http://[::1]:8080/"), check=False,
                               capture_output=True, text=True, timeout=TIMEOUT)
        assert asked.returncode == 7, asked.stderr  # refused: see EXIT CODES in curl(1)


@FOR_EACH_NETWORK
def test_a_published_udp_port(host, mode):
    answer = """if True:
        import socket
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("0.0.0.0", 53)); print("ready", flush=True)
        while True:
            data, peer = s.recvfrom(100)
            s.sendto(b"got " + data, peer)"""
    ask = """if True:
        import socket, sys
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2)
        s.connect((sys.argv[1], 5353)); s.send(b"x"); print(s.recv(100).decode())"""
    with sleeping(host, mode, "-p", "5353:53/udp") as container:
        with python_in(container, answer) as server:
            assert server.stdout.readline() == "ready\n"
            # The helpers reply to the world. They translate packets from the host itself to the
            # gateway's address, and do not let the reply back to it; pasta does from 2024 on.
            from_the_host = [(address, "host") for address in ("127.0.0.1", "127.0.0.2", HOST)
                             if mode == "bridge"]
            for address, where in [*from_the_host, (HOST, "world")]:
                got = host.do("/usr/bin/python3", "-c", ask, address, where=where)
                assert got == "got x\n", (address, where)


@FOR_EACH_NETWORK
def test_the_hosts_loopback_is_unreachable(host, mode, page):
    """At its own address, at the gateway's, and at whatever the helper offers besides."""
    script = f"""
        gateway=$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p')
        for address in 127.0.0.1 $gateway 10.0.2.2 169.254.1.1 {HOST}; do
            echo asked; wget -q -O - http://$address:9999/ & sleep 0.3; kill $! 2>/dev/null
        done; true"""
    with Server(host, "host", "127.0.0.1:9999", page):
        assert fetch(host, "http://127.0.0.1:9999/") == text_of(page)
        out = host.output("--network", mode, "sh", "-c", script)
    assert out.split() == ["asked"] * 5


@FOR_EACH_NETWORK
def test_abstract_sockets_of_the_host_are_unreachable(host, mode):
    name = f"box-{secrets.token_hex(8)}"
    listen = f"""if True:
        import socket
        s = socket.socket(socket.AF_UNIX); s.bind("\\0{name}"); s.listen()
        print("ready", flush=True); input()"""
    ask = f"""import socket; print(socket.socket(socket.AF_UNIX).connect_ex("\\0{name}"))"""
    with Started(host.enter("/usr/bin/python3", "-c", listen), stdin=subprocess.PIPE,
                 stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout.readline() == "ready\n"
        assert host.do("/usr/bin/python3", "-c", ask) == "0\n"
        with sleeping(host, mode) as container, python_in(container, ask) as client:
            assert client.stdout.read() == "111\n", "ECONNREFUSED"


@FOR_EACH_NETWORK
def test_sys_shows_the_containers_links(host, mode):
    assert host.output("--network", mode, "ls", "/sys/class/net").split() == ["eth0", "lo"]


@FOR_EACH_NETWORK
def test_nothing_is_left_after_sigkill(host, mode, page):
    before = host.state()
    with serve(host, mode, page, "-p", "8080:80") as process:
        child = process.child()
        process.kill()
        process.wait()
        assert wait_until(lambda: not pathlib.Path(f"/proc/{child}/ns/net").exists())
        check_that_nothing_is_left(host, before)
        assert wait_until(lambda: not processes_with(str(page)))
    assert not helpers(child)


def test_rules_that_are_still_loaded_when_the_parent_dies_do_not_stay(root_host):
    """nft goes on when its parent has died, so the process that cleans up has to wait for it."""
    before = root_host.state()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="nft-", dir="/tmp"))
    mark = f"0.7{secrets.randbelow(10**9)}"
    (folder / "nft").write_text(f"""#!/bin/sh
        mkdir {folder}/slow-once 2>/dev/null && sleep {mark}
        exec /usr/sbin/nft "$@"\n""")
    (folder / "nft").chmod(0o755)
    path = f"{folder}:{root_host.caller.environment()['PATH']}"
    try:
        with root_host.start("--network", "bridge", "sleep", "1000",
                             before=["env", f"PATH={path}"]) as process:
            assert wait_until(lambda: root_host.do("sh", "-c", "ip -brief link | grep -c hood1 ||"
                                                   " true").strip() == "1")
            assert wait_until(lambda: processes_with(mark))
            process.kill()
            process.wait()
            assert wait_until(lambda: root_host.state() == before), root_host.state()
            assert not wait_until(lambda: root_host.state() != before, 1.5)
    finally:
        shutil.rmtree(folder)


def helpers(child: int) -> list[int]:
    """The helpers that were told to connect the process `child`."""
    return [pid for word in (child, f"/tmp/{child}-net") for pid in processes_with(f"\0{word}\0")]


@pytest.mark.parametrize("mode", HELPERS)
def test_a_helper_that_dies_is_told_of(host, mode, page):
    with serve(host, mode, page, "-p", "8080:80") as process:
        helper, = helpers(process.child())
        os.kill(helper, signal.SIGKILL)
        status = pathlib.Path(f"/proc/{helper}/status")
        assert wait_until(lambda: "State:\tZ" in status.read_text())
        assert fetch(host, "http://127.0.0.1:8080/") == ""
        assert end(process) == 137
        assert f"{mode} ended before the container did" in process.stderr.read()


@FOR_EACH_NETWORK
def test_ctrl_c_reaches_the_command_and_not_the_helpers(host, mode, page):
    script = "trap 'echo caught' INT; httpd -p 80 -h /www; echo ready; while :; do sleep 0.1; done"
    with host.start("--network", mode, "-p", "8080:80", "-v", f"{page}:/www", "sh", "-c", script,
                    start_new_session=True) as process:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        assert reaches(host, "http://127.0.0.1:8080/", page)  # httpd has left our group by now
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.readline() == "caught\n"
        assert reaches(host, "http://127.0.0.1:8080/", page)


@FOR_EACH_NETWORK
def test_name_servers_of_the_host_are_asked(host, mode):
    host.do("sh", "-c", f"echo 'nameserver 127.0.0.53' >/run/r; echo 'nameserver {WORLD}' >>/run/r;"
                        "mount --bind /run/r /etc/resolv.conf")
    out = host.output("--network", mode, "cat", "/etc/resolv.conf")
    assert out == {"bridge": f"nameserver {WORLD}", "pasta": "nameserver 169.254.1.1",
                   "slirp4netns": "nameserver 10.0.2.3"}[mode]


# --- The parent dies -----------------------------------------------------------------------------


@FOR_EACH_NETWORK
@pytest.mark.as_shipped
def test_no_kill_of_the_parent_leaves_anything(host, mode):
    """strace kills the parent as it enters each system call that it makes after clone3()."""
    before = host.state()
    trace = host.caller.home / "trace"
    mark = f"0.3{secrets.randbelow(10**9)}"

    def run(*inject: str) -> list[str]:
        with host.start("--network", mode, "-p", "8080:80", "sh", "-c", f"sleep {mark}; true",
                        before=["strace", "-o", str(trace), *inject]) as process:
            process.communicate(timeout=TIMEOUT)
        return [line.partition("(")[0] for line in trace.read_text().splitlines() if "(" in line]

    names = run()
    first = names.index("clone3")
    for number in range(first, len(names), 7):  # every seventh: all of them take minutes
        occurrence = names[:number + 1].count(names[number])
        run("-e", f"inject={names[number]}:signal=KILL:when={occurrence}")
        assert wait_until(lambda: not processes_with(mark)), names[number]
        assert wait_until(lambda: host.state() == before), f"{names[number]}: {host.state()}"
    trace.unlink()


# --- The janitor ---------------------------------------------------------------------------------


@FOR_EACH_NETWORK
def test_a_janitor_that_is_killed_is_told_of_and_leaves_nothing(host, mode, page):
    before = host.state()
    with serve(host, mode, page, "-p", "8080:80") as process:
        assert wait_until(lambda: janitor_of(process))
        started = helpers(process.child())
        os.kill(janitor_of(process), signal.SIGKILL)
        for helper in started:
            assert wait_until(lambda: not pathlib.Path(f"/proc/{helper}/exe").exists()), "it stays"
        assert end(process) == 137
        line, = process.stderr.read().splitlines()
        assert line == (f"{STAGE}: the janitor was killed by SIGKILL; the parent cleans up in its"
                        " place")
    check_that_nothing_is_left(host, before)


@pytest.mark.as_shipped
@FOR_EACH_NETWORK
def test_a_janitor_that_dies_at_once_stops_the_start(host, mode):
    before = host.state()
    for call in ("setsid", "chdir"):
        result = host.run("--network", mode, "-p", "8080:80", "echo", "ran", before=[
            "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
            "-e", f"inject={call}:signal=KILL:when=1"])
        if call == "setsid":
            assert (result.returncode, result.stdout) == (125, ""), result.stderr
            assert f"{STAGE}: " in result.stderr
    check_that_nothing_is_left(host, before)


# --- As docker run does it -----------------------------------------------------------------------


MAPS = ["--uid-map", "0:100000:2000", "--gid-map", "0:100000:2000"]


@pytest.mark.parametrize("options", [[], ["--network", "bridge"]])
def test_the_callers_umask_is_not_the_containers(root_host, options):
    script = "cat /etc/hosts /etc/resolv.conf >/dev/null && echo read"
    for umask in ("077", "777"):
        result = root_host.run(*options, *MAPS, "-u", "1000:1000", "sh", "-c", script, before=[
            "sh", "-c", f'umask {umask}; exec "$@"', "sh"])
        assert result.stdout == "read\n", result.stderr


def test_every_port_is_for_every_user_of_the_container(root):
    """And ping(8): see ip_unprivileged_port_start and ping_group_range in ip-sysctl.rst."""
    script = "httpd -p 80 -h /etc && echo ready; exec sleep 1000"
    ask = "import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)"
    with root.start(STAGE, *MAPS, "-u", "1000:1000", "sh", "-c", script) as process:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        enter = ["nsenter", f"--target={process.child()}", "--net", "--user"]
        ping = ["setpriv", "--reuid=1000", "--regid=1000", "--clear-groups", "/usr/bin/python3"]
        subprocess.run([*enter, *ping, "-c", ask], check=True)
        ranges = subprocess.check_output([*enter, "cat", "/proc/sys/net/ipv4/ping_group_range"])
    assert ranges.split() == [b"0", b"1999"]
    assert pathlib.Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text() == "1024\n"


def test_the_last_group_of_the_map_may_ping(user):
    """A wider range, with a group that has no number outside, would be refused as a whole."""
    words = ["--uid-map", f"0:{user.uid}:1", "--gid-map", f"0:{user.uid}:1"]
    path = "/proc/sys/net/ipv4/ping_group_range"
    assert user.output(STAGE, *words, "cat", path).split() == ["0", "0"]


def test_the_switches_of_the_hosts_network_stay_as_they_are(caller):
    before = pathlib.Path("/proc/sys/net/ipv4/ping_group_range").read_text()
    caller.output(STAGE, "--network", "host", "true")
    caller.output(STAGE, "true")
    assert pathlib.Path("/proc/sys/net/ipv4/ping_group_range").read_text() == before


@FOR_EACH_NETWORK
def test_a_range_of_ports(host, mode, page):
    with serve(host, mode, page, "-p", "8079-8081:79-81"):
        assert reaches(host, "http://127.0.0.1:8080/", page)
        assert ":8081 " in host.do("ss", "-Hlnt")


@FOR_EACH_NETWORK
def test_a_port_that_the_host_may_choose(host, mode, page):
    with serve(host, mode, page, "-p", "80") as process:
        line = process.stderr.readline()
        start = f"{STAGE}: port 80 of the container is published as "
        assert line.startswith(start)
        number = line[len(start):].partition(":")[0]
        assert reaches(host, f"http://127.0.0.1:{number}/", page)


@pytest.mark.parametrize("mode", HELPERS)
def test_a_port_of_one_address(host, mode, page):
    with serve(host, mode, page, "-p", "127.0.0.1:8080:80"):
        assert reaches(host, "http://127.0.0.1:8080/", page)
        assert fetch(host, f"http://{HOST}:8080/", "world") == ""


def test_an_address_that_is_not_the_hosts_is_refused(root_host):
    result = root_host.run("-p", "203.0.113.9:8080:80", "true")
    assert result.returncode == 125
    assert result.stderr.splitlines() == [
        f"{STAGE}: --publish 203.0.113.9:8080:80: port 8080 of the host: Cannot assign requested"
        " address", "hint: list the host's addresses:  ip -brief address"]


def test_the_helper_that_works_is_chosen(user_host, page):
    """pasta of 2023 needs a default route, slirp4netns does not."""
    user_host.do("ip", "route", "del", "default")
    with user_host.start("-p", "8080:80", "-v", f"{page}:/www", "httpd", "-f", "-h",
                         "/www") as process:
        assert reaches(user_host, "http://127.0.0.1:8080/", page)
        helper, = helpers(process.child())
        assert name_of(helper) == "slirp4netns"


@pytest.mark.parametrize("text, works", [
    ("nameserver 127.0.0.1", False), ("nameserver ::1", False), ("nameserver 2001:db8::53", False),
    ("# nameserver 192.0.2.53", False), ("", False), ("nameserver 192.0.2.53", True)])
def test_a_container_without_a_name_server_is_told_of(root_host, text, works):
    root_host.do("sh", "-c", f"echo '{text}' >/run/r; mount --bind /run/r /etc/resolv.conf")
    result = root_host.run("--network", "bridge", "true")
    assert result.returncode == 0
    if works:
        assert result.stderr == ""
        return
    message, hint = result.stderr.splitlines()
    assert message.startswith(f"{STAGE}: the container has no name server")
    assert hint.startswith("hint: mount a file")


@pytest.mark.parametrize("mode", HELPERS)
def test_a_host_without_a_name_server_is_told_of(user_host, mode):
    user_host.do("sh", "-c", "echo 'search x' >/run/r; mount --bind /run/r /etc/resolv.conf")
    message, _ = user_host.run("--network", mode, "true").stderr.splitlines()
    assert message == f"{STAGE}: the container has no name server, because the host has none"


@pytest.mark.parametrize("mode", HELPERS)
@pytest.mark.as_shipped
def test_a_helper_that_cannot_be_started_leaves_nothing(user_host, mode):
    before = user_host.state()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="helper-", dir="/tmp"))
    folder.chmod(0o755)
    (folder / mode).write_text("#!/no/such/interpreter\n")
    (folder / mode).chmod(0o755)
    path = f"{folder}:{user_host.caller.environment()['PATH']}"
    result = user_host.run("--network", mode, "-p", "8080:80", "true", before=[
        "env", f"PATH={path}"])
    shutil.rmtree(folder)
    assert result.returncode == 125
    assert result.stderr == f"{STAGE}: {mode}: execve(): No such file or directory\n"
    assert user_host.state() == before


@pytest.mark.parametrize("mode", HELPERS)
@pytest.mark.as_shipped
def test_each_pipe_that_cannot_be_made_is_the_reason_that_is_told(user_host, mode):
    for number in range(1, 10):
        result = user_host.run("--network", mode, "true", before=[
            "strace", "-qq", "-o", "/dev/null", "-e", f"inject=pipe2:error=EMFILE:when={number}"])
        if result.returncode == 0:
            break
        assert (result.returncode, result.stderr) == (
            125, f"{STAGE}: pipe2(): Too many open files\n")
    assert number == 3, "one is of the child, and one of the helper"


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
def test_slirp4netns_has_nothing_of_the_host(host):
    """The helper parses the container's packets, so it has a filter, no capabilities, and an empty
    root."""
    with sleeping(host, "slirp4netns", "-p", "8080:80") as process:
        helper, = helpers(process.child())
        status = pathlib.Path(f"/proc/{helper}/status").read_text()
        assert "Seccomp:\t2" in status
        assert int(status.partition("CapEff:\t")[2].split()[0], 16) & ~(1 << 10) == 0
        assert not pathlib.Path(f"/proc/{helper}/root/home").exists()


@pytest.mark.parametrize("caller", ["root", "user"], indirect=True)
@pytest.mark.parametrize("mode", HELPERS)
def test_a_helper_has_nothing_of_our_process(host, mode):
    """pasta is a user's even if root has started it: that of the container's namespaces."""
    with sleeping(host, mode, "-p", "8080:80") as process:
        helper, = helpers(process.child())
        status = pathlib.Path(f"/proc/{helper}/status").read_text()
        assert "SigBlk:\t0000000000000000\n" in status
        if mode == "pasta":
            uids = set(status.partition("Uid:\t")[2].splitlines()[0].split())
            assert len(uids) == 1 and uids != {"0"}
            assert host.caller.uid != 0 or "Groups:\t \n" in status


def test_pasta_of_roots_where_only_root_may_open_dev_net_tun(root_host, page):
    root_host.do("chmod", "600", "/dev/net/tun")
    with root_host.start("--network", "pasta", "-p", "8080:80", "-v", f"{page}:/www", "httpd", "-f",
                         "-h", "/www"):
        assert reaches(root_host, "http://127.0.0.1:8080/", page)
        assert root_host.do("stat", "-c", "%a %u", "/dev/net/tun") == "600 0\n"
        assert not os.path.exists("/tmp/tun")  # it has that in a mount namespace of its own
