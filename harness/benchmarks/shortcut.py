"""What does the shortcut of stage 10 save? Requests, latency, throughput and CPU time from another
machine to a published port, beside the same without it, and without a container.

    sudo bazel run //harness/benchmarks:shortcut -- --json slides/measured/shortcut.json

It needs root, because it goes on in network namespaces of its own: a host, and a world, which a
pair of veth links connects. This machine's network does not change. Prints one table.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
from typing import Dict, List, Optional, Sequence

from harness.benchmarks.record import record

HOST = "198.51.100.1"
PORT, ECHO_PORT = 5201, 5202  # of iperf3, and of the server below
SET_UP = """
    mount -t tmpfs tmpfs /run && ip link set lo up
    ip link add up0 type veth peer name eth0 netns $0
    ip address add 198.51.100.1/24 dev up0 && ip link set up0 up
    ip route add default via 198.51.100.2
    nsenter --target=$0 --net sh -c 'ip address add 198.51.100.2/24 dev eth0 && ip link set eth0 up'
"""
# Replies to each byte with one, on as many connections as come, one after the other.
SERVER = f"""
import socket
server = socket.create_server(("0.0.0.0", {ECHO_PORT}), backlog=1000)
print("ready", flush=True)
while True:
    client, _ = server.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := client.recv(1):
        client.sendall(data)
    client.close()
"""
# Connections with one byte there and back, for a time; then bytes on one connection.
CLIENT = f"""
import json, socket, sys, time
def connect():
    client = socket.create_connection((sys.argv[1], {ECHO_PORT}), timeout=5)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client
def ask(client):
    client.sendall(b"x")
    assert client.recv(1) == b"x"
seconds, requests = float(sys.argv[2]), 0
end = time.perf_counter() + seconds
while time.perf_counter() < end:
    with connect() as client:
        ask(client)
    requests += 1
times = []
with connect() as client:
    for _ in range(2000):
        start = time.perf_counter()
        ask(client)
        times.append(time.perf_counter() - start)
print(json.dumps([requests / seconds, times]))
"""
# Name, where the client is, and the options of the stage; None: there is no container.
WAYS: Dict[str, tuple] = {
    "loopback of the host": ("host", "127.0.0.1", None),
    "veth alone": ("world", HOST, None),
    "bridge with NAT": ("world", HOST, ["--network", "bridge", "--shortcut", "off"]),
    "the shortcut": ("world", HOST, ["--network", "bridge"]),
    "pasta": ("world", HOST, ["--network", "pasta"]),
}


def child_of(container: subprocess.Popen) -> int:
    with open(f"/proc/{container.pid}/task/{container.pid}/children", encoding="ascii") as file:
        return int(file.read().split()[0])


def cpu_of_helpers() -> float:
    """CPU seconds of pasta, which copies the bytes itself."""
    total = 0
    for pid in subprocess.run(["pgrep", "-x", "pasta|pasta.avx2"], capture_output=True, text=True,
                              check=False).stdout.split():
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
                fields = file.read().rpartition(")")[2].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def start_servers(stage: str, options: Optional[List[str]]) -> List[subprocess.Popen]:
    running, enter = [], []
    if options is not None:
        container = subprocess.Popen(
            [stage, *options, "-p", f"{PORT}:{PORT}", "-p", f"{ECHO_PORT}:{ECHO_PORT}", "sh", "-c",
             "echo ready; exec sleep 1000"], stdout=subprocess.PIPE)
        running.append(container)
        assert container.stdout is not None and container.stdout.readline() == b"ready\n"
        enter = ["nsenter", f"--target={child_of(container)}", "--net"]
    running.append(subprocess.Popen([*enter, "iperf3", "--server"], stdout=subprocess.DEVNULL))
    echo = subprocess.Popen([*enter, sys.executable, "-c", SERVER], stdout=subprocess.PIPE)
    running.append(echo)
    assert echo.stdout is not None and echo.stdout.readline() == b"ready\n"
    return running


def measure(stage: str, world: int, name: str, seconds: float) -> Dict[str, float]:
    where, address, options = WAYS[name]
    enter = ["nsenter", f"--target={world}", "--net"] if where == "world" else []
    running = start_servers(stage, options)
    try:
        asked = subprocess.run([*enter, sys.executable, "-c", CLIENT, address, str(seconds)],
                               capture_output=True, text=True, check=True)
        requests, times = json.loads(asked.stdout)
        before = cpu_of_helpers()
        sent = subprocess.run([*enter, "iperf3", "--client", address, "--json", "--time",
                               str(seconds)], capture_output=True, text=True, check=True)
        end = json.loads(sent.stdout)["end"]
        bits, took = end["sum_received"]["bits_per_second"], end["sum_received"]["seconds"]
        busy = sum(end["cpu_utilization_percent"][side] for side in ("host_total", "remote_total"))
        cpu = busy / 100 * took + cpu_of_helpers() - before
    finally:
        if options is not None:
            os.kill(child_of(running[0]), signal.SIGKILL)  # the stage then tidies up and leaves
        for process in running[0 if options is None else 1:]:
            process.kill()
        for process in running:
            process.wait()
    times = sorted(times)
    return {"requests": requests, "median": statistics.median(times) * 1e6,
            "p99": times[int(0.99 * len(times))] * 1e6, "gbits": bits / 1e9,
            "cpu": cpu / (bits * took / 1e9) * 1000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5, help="of all, of which the median counts")
    parser.add_argument("--json", help="write it to this file, for the slides")
    arguments = parser.parse_args()
    if "IN_OWN_NAMESPACE" not in os.environ:
        os.environ["IN_OWN_NAMESPACE"] = "yes"
        os.execvp("unshare", ["unshare", "--net", "--mount", sys.executable, *sys.orig_argv[1:]])
    stage = os.path.realpath(os.environ["PROGRAMS"])
    rounds: Dict[str, List[Dict[str, float]]] = {name: [] for name in WAYS}
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 100000"],
                          stdout=subprocess.PIPE) as world:
        assert world.stdout is not None and world.stdout.readline() == b"\n"
        subprocess.run(["sh", "-ec", SET_UP, str(world.pid)], check=True)
        for _ in range(arguments.rounds):
            for name in WAYS:
                rounds[name].append(measure(stage, world.pid, name, arguments.seconds))
        world.kill()

    def row(name: str) -> Sequence[str]:
        middle = {key: statistics.median(one[key] for one in rounds[name])
                  for key in rounds[name][0]}
        return (name, f"{middle['requests']:.0f}", f"{middle['median']:.0f}",
                f"{middle['p99']:.0f}", f"{middle['gbits']:.1f}", f"{middle['cpu']:.0f}")

    record(arguments.json, "A published port, from another machine", [
        "way", "connections/s", "byte there and back, µs", "slowest of 100, µs", "Gbit/s",
        "CPU, ms per Gbit"], [row(name) for name in WAYS])


if __name__ == "__main__":
    main()
