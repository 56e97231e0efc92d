"""How fast is each --network? Throughput by iperf3, and the latency of a request, from the host to
a published port of the container, beside the host's own loopback.

    sudo bazel run //harness/benchmarks:network -- --json slides/measured/network.json

It needs root, because it goes on in a network namespace of its own, which has a neighbour so that
there is a default route. This machine's network does not change. Prints one table.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from typing import List, Sequence

from harness.benchmarks.record import record

NETWORKS = ("loopback", "host", "bridge", "pasta", "slirp4netns")
PORT = 5201  # of iperf3
ECHO_PORT = 5202
REQUESTS = 300
ECHO = f"""
import socket
server = socket.create_server(("0.0.0.0", {ECHO_PORT}))
while True:
    client, _ = server.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.sendall(client.recv(1))
    client.close()
"""
# Outside: a neighbour, so that pasta finds a default route.
SET_UP = """
    mount -t tmpfs tmpfs /run && ip link set lo up && ip link add up0 type veth peer name up1 &&
    ip address add 198.51.100.1/24 dev up0 && ip link set up0 up && ip link set up1 up &&
    ip route add default via 198.51.100.2
"""


def child_of(container: subprocess.Popen) -> int:
    children = f"/proc/{container.pid}/task/{container.pid}/children"
    with open(children, encoding="ascii") as file:
        return int(file.read().split()[0])


def start_servers(stage: str, network: str) -> List[subprocess.Popen]:
    """iperf3 and an echo server, in the container's network, or on the host."""
    options = ["--network", network]
    if network != "host":
        options += ["-p", f"{PORT}:{PORT}", "-p", f"{ECHO_PORT}:{ECHO_PORT}"]
    enter: List[str] = []
    running = []
    if network != "loopback":
        container = subprocess.Popen([stage, *options, "sh", "-c", "echo ready; exec sleep 1000"],
                                     stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        running.append(container)
        assert container.stdout is not None
        if container.stdout.readline() != b"ready\n":
            raise SystemExit(f"{network}: the container did not start")
        enter = ["nsenter", f"--target={child_of(container)}", "--net"]
    for command in (["iperf3", "--server"], [sys.executable, "-c", ECHO]):
        running.append(subprocess.Popen([*enter, *command], stdout=subprocess.DEVNULL))
    return running


def request() -> float:
    """A connection, a byte there and back, in seconds."""
    start = time.perf_counter()
    with socket.create_connection(("127.0.0.1", ECHO_PORT), timeout=5) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(b"x")
        if client.recv(1) != b"x":
            raise ConnectionError("no answer")
    return time.perf_counter() - start


def wait_for_servers() -> None:
    for _ in range(100):
        try:
            request()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server does not answer")


def throughput(seconds: int, *more: str) -> float:
    """In Gbit/s. With --reverse: from the container to the host."""
    done = subprocess.run(["iperf3", "--client", "127.0.0.1", "--json", "--time", str(seconds),
                           *more], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"] / 1e9


def measure(stage: str, network: str, seconds: int) -> Sequence[str]:
    running = start_servers(stage, network)
    try:
        wait_for_servers()
        latencies = sorted(request() for _ in range(REQUESTS))
        there, back = throughput(seconds), throughput(seconds, "--reverse")
    finally:
        if network != "loopback":
            os.kill(child_of(running[0]), signal.SIGKILL)  # the stage then tidies up and leaves
        for process in running:
            if process is not running[0] or network == "loopback":
                process.kill()
            process.wait()
    return (network, f"{there:.1f}", f"{back:.1f}", f"{statistics.median(latencies) * 1e6:.0f}",
            f"{latencies[int(0.99 * REQUESTS)] * 1e6:.0f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=int, default=2, help="of each throughput")
    parser.add_argument("--json", help="write it to this file, for the slides")
    arguments = parser.parse_args()
    stage = os.path.realpath(os.environ["PROGRAMS"])
    if "IN_OWN_NAMESPACE" not in os.environ:
        os.environ["IN_OWN_NAMESPACE"] = "yes"
        script = SET_UP.strip() + ' && exec "$0" "$@"'
        os.execvp("unshare", ["unshare", "--net", "--mount", "sh", "-c", script, sys.executable,
                              *sys.orig_argv[1:]])
    record(arguments.json, "A published port, from the host", [
        "--network", "to it, Gbit/s", "from it, Gbit/s", "request, µs", "slowest of 100, µs"],
        [measure(stage, network, arguments.seconds) for network in NETWORKS])


if __name__ == "__main__":
    main()
