"""Stage 08c: the bridge, on a host of the tests' own."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import signal
import subprocess
from collections.abc import Iterator

import pytest
from conftest import TIMEOUT, Started, processes_with, wait_until
from hosts import (HOST, STAGE, WORLD, Host, another_nft, check_that_nothing_is_left, end, fetch,
                   hold_namespaces, janitor_of, python_in, reaches, serve, sleeping, text_of)

pytest_plugins = ["hosts"]  # its fixtures


def test_containers_find_each_other_by_name(root_host, page):
    """The container that started earlier can also resolve the later one's name."""
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


# --- What the host forwards ----------------------------------------------------------------------


@contextlib.contextmanager
def elsewhere(host: Host) -> Iterator[None]:
    """Another network that the host is in, at 203.0.113.2, which the world wants to reach."""
    holder = hold_namespaces()
    try:
        host.do("sh", "-ec", """
            ip link add else0 type veth peer name eth0 netns $0
            ip address add 203.0.113.1/24 dev else0; ip link set else0 up
            nsenter --target=$0 --net sh -c '
                ip address add 203.0.113.2/24 dev eth0; ip link set eth0 up
                ip route add default via 203.0.113.1'""", str(holder.pid))
        host.do("ip", "route", "add", "203.0.113.0/24", "via", HOST, where="world")
        yield
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def passes_on(host: Host, address: str) -> bool:
    """Whether the host forwards the world's packets to `address`."""
    done = subprocess.run(["nsenter", f"--target={host.world}", "--net", "ping", "-c1", "-W1",
                           address], capture_output=True, check=False)
    return done.returncode == 0


def test_nothing_is_forwarded_that_was_not_before(root_host):
    """The world's packets are not forwarded elsewhere, though the host's links forward now."""
    with elsewhere(root_host), sleeping(root_host, "bridge"):
        assert "up0/forwarding:1" in root_host.forwarding()
        assert root_host.do("cat", "/proc/sys/net/ipv4/ip_forward") == "0\n"
        assert not passes_on(root_host, "203.0.113.2")
        root_host.do("nft", "flush", "chain", "ip", "containers_under_the_hood", "forwarded")
        assert passes_on(root_host, "203.0.113.2"), "only the rule keeps it out"


def test_a_host_that_forwards_goes_on_to(root_host):
    root_host.do("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
    before = root_host.state()
    with elsewhere(root_host), sleeping(root_host, "bridge"):
        assert passes_on(root_host, "203.0.113.2")
    assert wait_until(lambda: root_host.state() == before), root_host.state()


def test_what_others_forward_is_not_ours_to_restrict(root_host):
    """As soon as another program has switched forwarding on, and as often as it does."""
    with elsewhere(root_host), sleeping(root_host, "bridge"), sleeping(root_host, "bridge"):
        for _ in range(2):
            assert not passes_on(root_host, "203.0.113.2")
            root_host.do("sysctl", "-qw", "net.ipv4.ip_forward=1")
            assert wait_until(lambda: passes_on(root_host, "203.0.113.2"))
            root_host.do("sysctl", "-qw", "net.ipv4.ip_forward=0")
    assert wait_until(lambda: "hood0" not in root_host.state()["links"])
    assert "forwarding:1" not in root_host.forwarding()


def test_forwarding_that_others_have_switched_on_meanwhile_stays(root_host):
    """As Docker or libvirt do when they start."""
    with sleeping(root_host, "bridge") as container:
        root_host.do("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
        end(container)
    assert wait_until(lambda: "hood0" not in root_host.state()["links"])
    assert root_host.do("cat", "/proc/sys/net/ipv4/ip_forward") == "1\n"
    assert "up0/forwarding:1" in root_host.forwarding()


def test_a_link_that_forwarded_before_still_does(root_host):
    root_host.do("sysctl", "-qw", "net.ipv4.conf.up0.forwarding=1")
    before = root_host.state()
    assert root_host.run("--network", "bridge", "true").returncode == 0
    check_that_nothing_is_left(root_host, before)
    assert "up0/forwarding:1" in root_host.forwarding()


def test_rules_come_first_and_go_last(root_host):
    """While nft runs, at the start and at the end, nothing is forwarded."""
    script = """
        grep -H . /proc/sys/net/ipv4/conf/*/forwarding >>$here/seen
        exec /usr/sbin/nft "$@" """
    before = root_host.state()
    with another_nft(root_host, script) as how:
        folder = pathlib.Path(how["before"][1].partition("=")[2].partition(":")[0])
        assert root_host.run("--network", "bridge", "true", **how).returncode == 0
        check_that_nothing_is_left(root_host, before)
        seen = (folder / "seen").read_text()
    assert seen.count("up0/forwarding:0") == 2, seen
    assert ":1" not in seen


def test_a_failing_nft_leaves_nothing(root_host):
    before = root_host.state()
    script = "echo 'Error: Could not process rule: Operation not supported' >&2; exit 1"
    with another_nft(root_host, script) as how:
        for _ in range(2):
            result = root_host.run("--network", "bridge", "-p", "8080:80", "echo", "ran", **how)
            assert (result.returncode, result.stdout) == (125, "")
            assert result.stderr.splitlines() == [
                f"{STAGE}: nft, which loads the rules: Error: Could not process rule: Operation not"
                " supported"]
            assert root_host.state() == before
    assert root_host.run("--network", "bridge", "true").returncode == 0


def test_an_nft_that_fails_at_the_end_stops_nothing_else(root_host):
    before = root_host.state()
    script = """grep -q elements "$2" || exit 1
        exec /usr/sbin/nft "$@" """
    with another_nft(root_host, script) as how:
        result = root_host.run("--network", "bridge", "-p", "8080:80", "true", **how)
        assert result.returncode == 0
        message, hint = result.stderr.splitlines()
        assert message.startswith(f"{STAGE}: nft, which loads the rules: ")
        assert hint == "hint: the next container's start tries again"
    assert {**root_host.state(), "rules": ""} == before
    assert root_host.run("--network", "bridge", "true").returncode == 0
    assert root_host.state() == before


# --- Ownership --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["bridge", "veth peer name other0"])
def test_a_link_of_the_bridges_name_that_is_not_ours_stays(root_host, kind):
    root_host.do("sh", "-ec", f"ip link add hood0 type {kind}; ip link set hood0 up;"
                              "ip address add 192.168.77.1/24 dev hood0")
    before = root_host.state()
    result = root_host.run("--network", "bridge", "true")
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    assert message == f"{STAGE}: there is already a link hood0, which this program did not make"
    assert hint.startswith("hint: rename it:")
    assert root_host.state() == before
    assert "192.168.77.1" in root_host.do("ip", "address", "show", "hood0")


@pytest.mark.parametrize("route, free", [
    ("10.0.0.0/8", False), ("10.79.0.0/16", False), ("10.79.0.0/24", False),
    ("10.79.0.128/25", False), ("10.80.0.0/16", True), ("10.78.0.0/16", True),
    ("0.0.0.0/1", True), ("0.0.0.0/2", False)])
def test_a_route_that_covers_the_pool_is_told(root_host, route, free):
    root_host.do("ip", "route", "add", route, "via", WORLD)
    before = root_host.state()
    result = root_host.run("--network", "bridge", "true")
    check_that_nothing_is_left(root_host, before)
    if free:
        assert (result.returncode, result.stderr) == (0, "")
        return
    assert result.returncode == 125
    assert result.stderr.splitlines() == [
        f"{STAGE}: 10.79.0.0/24 is in use already, by up0",
        "hint: use another network: --network pasta"]


def test_a_containers_end_does_not_remove_anothers_link(root_host, page):
    """The first one's link is gone, and another has its name and its address by now."""
    with sleeping(root_host, "bridge") as first:
        subprocess.run(["nsenter", f"--target={first.child()}", "--net", "ip", "link", "delete",
                        "eth0"], check=True)
        with serve(root_host, "bridge", page, "-p", "8080:80"):
            assert "hood1" in root_host.do("ip", "-brief", "link")
            end(first)
            assert not wait_until(lambda: fetch(root_host, f"http://{HOST}:8080/") == "", 1)
            assert fetch(root_host, "http://127.0.0.1:8080/") == text_of(page)


def test_nobody_else_can_hold_the_lock(root_host, user):
    """An ordinary user cannot block the bridge by locking files."""
    lock = """if True:
        import fcntl, glob, os, sys
        held = []
        for path in ["/proc/self/ns/net", "/run", *glob.glob("/run/*hood*"),
                     *glob.glob("/run/*hood*/*")]:
            try: held.append(os.open(path, os.O_RDONLY)); fcntl.flock(held[-1], fcntl.LOCK_EX)
            except PermissionError: print("refused", path)
        print("ready", flush=True)
        input()"""
    as_user = ["setpriv", f"--reuid={user.uid}", f"--regid={user.uid}", "--clear-groups"]
    with sleeping(root_host, "bridge"):
        with Started(root_host.enter(*as_user, "/usr/bin/python3", "-c", lock),
                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as locker:
            assert "/lock-" in locker.stdout.readline(), "the file itself is not to be had"
            assert locker.stdout.readline() == "ready\n"
            assert root_host.run("--network", "bridge", "true").returncode == 0


def test_a_clean_up_that_cannot_lock_the_bridge_leaves_it_to_the_next(root_host):
    before = root_host.state()
    with sleeping(root_host, "bridge") as process:
        path = root_host.do("sh", "-c", "echo /run/*hood*/lock-*").strip()
        root_host.do("sh", "-c", f"rm {path}; mkdir {path}")
        end(process)
        assert f"open({path}): Is a directory" in process.stderr.read()
    assert "hood0" in root_host.do("ip", "-brief", "link")
    root_host.do("rmdir", path)
    assert root_host.run("--network", "bridge", "true").returncode == 0
    check_that_nothing_is_left(root_host, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_start_that_waits_for_the_lock_can_be_interrupted(root_host, number):
    with sleeping(root_host, "bridge"):
        path = root_host.do("sh", "-c", "echo /run/*hood*/lock-*").strip()
        with Started(root_host.enter("flock", path, "sh", "-c", "echo ready; exec sleep 1000"),
                     stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "ready\n"
            with root_host.start("--network", "bridge", "true", stderr=subprocess.DEVNULL) as late:
                assert not wait_until(lambda: late.poll() is not None, 0.5)
                late.send_signal(number)
                assert late.wait(5) == 128 + number
        subprocess.run(["pkill", "-P", str(holder.pid)], check=False)


def test_the_caller_does_not_wait_for_the_clean_up(root_host, tmp_path):
    before = root_host.state()
    gate = tmp_path / "gate"  # what removes the rules waits for it
    script = f"""grep -q elements "$2" || until [ -e {gate} ]; do sleep 0.1; done
        exec /usr/sbin/nft "$@" """
    with another_nft(root_host, script) as how:
        with root_host.start("--network", "bridge", "-p", "8080:80", "true", **how) as process:
            try:
                assert process.wait(TIMEOUT) == 0
                assert process.stdout.read() == "", "nor does a reader of its output"
                assert root_host.state() != before
            finally:
                gate.touch()
            assert process.stderr.read() == ""
    check_that_nothing_is_left(root_host, before)


# --- Addresses and ports -------------------------------------------------------------------------


def test_a_port_of_one_address(root_host, page):
    """With 127.0.0.1 the world does not reach it; nor the host itself at another address."""
    with serve(root_host, "bridge", page, "-p", "127.0.0.1:8080:80", "-p", f"{HOST}:8081:80"):
        assert reaches(root_host, "http://127.0.0.1:8080/", page)
        assert fetch(root_host, f"http://{HOST}:8080/") == ""
        assert fetch(root_host, f"http://{HOST}:8080/", "world") == ""
        assert fetch(root_host, "http://127.0.0.1:8081/") == ""
        assert fetch(root_host, f"http://{HOST}:8081/") == text_of(page)
        assert fetch(root_host, f"http://{HOST}:8081/", "world") == text_of(page)


def test_published_ports_outlive_the_rules(root_host, page):
    with serve(root_host, "bridge", page, "-p", "8080:80"):
        root_host.do("nft", "flush", "ruleset")
        for address in ("127.0.0.1", HOST):
            assert fetch(root_host, f"http://{address}:8080/") == text_of(page)
        assert fetch(root_host, f"http://{HOST}:8080/", "world") == text_of(page)
        assert root_host.run("--network", "bridge", "true").returncode == 0  # brings them back
        assert "8080" in root_host.do("nft", "list", "ruleset")


def test_where_no_server_listens_inside_the_client_is_told(root_host):
    """By a reset, as if nobody had accepted its connection: 7 or 56, see EXIT CODES in curl(1)."""
    with sleeping(root_host, "bridge", "-p", "8080:80"):
        assert subprocess.call(root_host.enter("curl", "-s", "-m5", "127.0.0.1:8080")) in (7, 56)


def test_a_large_page_comes_whole_through_the_proxy(root_host, page):
    large = os.urandom(5_000_000)
    (page / "large").write_bytes(large)
    (page / "large").chmod(0o644)
    with serve(root_host, "bridge", page, "-p", "8080:80"):
        got = subprocess.check_output(root_host.enter("curl", "-s", "http://127.0.0.1:8080/large"))
        assert got == large
        assert large == subprocess.check_output(root_host.enter("/usr/bin/python3", "-c", """if 1:
            import socket, sys, time
            s = socket.create_connection(("127.0.0.1", 8080))
            s.sendall(b"GET /large HTTP/1.0\\r\\n\\r\\n")
            time.sleep(0.3)  # by now the proxy cannot send any more
            data = b"".join(iter(lambda: s.recv(1 << 16), b"")).partition(b"\\r\\n\\r\\n")[2]
            sys.stdout.buffer.write(data)"""))


@pytest.mark.as_shipped  # a sanitizer keeps memory that was freed
def test_idle_connections_cost_the_proxy_next_to_nothing(root_host, page):
    """No limit of the container counts what the janitor uses."""
    connect = """if True:
        import socket
        all = [socket.create_connection(("127.0.0.1", 8080)) for _ in range(400)]
        for one in all[:10]: one.sendall(b"GET /"); one.settimeout(5)
        print("ready", flush=True)
        input()"""
    with serve(root_host, "bridge", page, "-p", "8080:80") as process:
        janitor = janitor_of(process)
        before = resident(janitor)
        with Started(root_host.enter("/usr/bin/python3", "-c", connect), stdin=subprocess.PIPE,
                     stdout=subprocess.PIPE, text=True) as client:
            assert client.stdout.readline() == "ready\n"
            sockets = pathlib.Path(f"/proc/{janitor}/fd")
            assert wait_until(lambda: len(list(sockets.iterdir())) >= 400)
            assert resident(janitor) < before + 2_000


def resident(process: int) -> int:
    """Its memory, in kB."""
    status = pathlib.Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


def test_who_talked_to_a_udp_port_before_it_was_published_is_answered(root_host):
    """conntrack remembers the earlier packets of a flow, and rules see only its first one."""
    ask = """if True:
        import socket
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.2)
        s.bind(("0.0.0.0", 40000)); s.connect(("198.51.100.1", 5353))
        print("ready", flush=True)
        for i in range(100):
            try: s.send(b"x"); print(s.recv(100).decode(), flush=True); break
            except (TimeoutError, ConnectionError): pass"""
    answer = """if True:
        import socket
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.bind(("0.0.0.0", 53)); print("ready", flush=True)
        while True:
            data, peer = s.recvfrom(100)
            s.sendto(b"got " + data, peer)"""
    with sleeping(root_host, "bridge"):
        enter = ["nsenter", f"--target={root_host.world}", "--net"]
        with Started([*enter, "/usr/bin/python3", "-c", ask], stdout=subprocess.PIPE,
                     text=True) as client:
            assert client.stdout.readline() == "ready\n"
            with sleeping(root_host, "bridge", "-p", "5353:53/udp") as container:
                with python_in(container, answer) as server:
                    assert server.stdout.readline() == "ready\n"
                    assert client.stdout.readline() == "got x\n"


def test_a_container_that_was_killed_frees_its_ports_at_once(root_host, page):
    for _ in range(5):
        with serve(root_host, "bridge", page, "-p", "8080:80") as process:
            process.kill()
            process.wait()
            result = root_host.run("--network", "bridge", "-p", "8080:80", "true")
            assert (result.returncode, result.stderr) == (0, "")


# --- At the end ----------------------------------------------------------------------------------


def test_what_a_killed_janitor_left_is_removed_by_the_next(root_host, page):
    """All processes are killed at once: the next container removes what remains."""
    before = root_host.state()
    with serve(root_host, "bridge", page, "--hostname", "dead", "-p", "8080:80") as process:
        for pid in [process.pid, *processes_with(str(page))]:  # it would do the janitor's work
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


def test_files_of_network_namespaces_that_are_gone_are_removed(root_host):
    """If all processes are killed, nothing is left that could remove them but the next start."""
    folder = "/run/containers-under-the-hood"
    before = root_host.state()
    other = hold_namespaces()
    try:
        living = os.stat(f"/proc/{other.pid}/ns/net").st_ino
        root_host.do("sh", "-ec", f"mkdir -m 755 {folder}; cd {folder}; touch hosts-4026530001"
                                  f" lock-4026530001 hosts-{living} lock-{living}")
        root_host.output("--network", "bridge", "true")
        assert wait_until(lambda: root_host.state()["files"].split() == [
            folder, f"{folder}/hosts-{living}", f"{folder}/lock-{living}"])
    finally:
        other.kill()
        other.wait()
        other.stdout.close()
    root_host.do("rm", "-r", folder)
    check_that_nothing_is_left(root_host, before)


def test_its_files_are_named_after_the_network_namespace(root_host):
    """Others, which have bridges of their own, have the same /run."""
    ours = root_host.do("stat", "-Lc", "%i", "/proc/self/ns/net").strip()
    with sleeping(root_host, "bridge"):
        files = root_host.state()["files"].split()[1:]
    assert [os.path.basename(path) for path in files] == [f"hosts-{ours}", f"lock-{ours}"]


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
