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
# Replies to each byte with one, on as many connections as come, one after the other. After "q" it
# closes first: the end that does so keeps the connection for a minute (TIME_WAIT), and a client
# that keeps all its ports looks for a free one longer than all else takes, see tcp(7).
SERVER = f"""
import socket
server = socket.create_server(("0.0.0.0", {ECHO_PORT}), backlog=1000)
print("ready", flush=True)
while True:
    client, _ = server.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := client.recv(1):
        client.sendall(data)
        if data == b"q":
            break
    client.close()
"""
# Connections with one byte there and back, for a time; then bytes on one connection.
CLIENT = f"""
import json, socket, sys, time
def connect():
    client = socket.create_connection((sys.argv[1], {ECHO_PORT}), timeout=5)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return client
def ask(client, byte=b"x"):
    client.sendall(byte)
    assert client.recv(1) == byte
def connect_and_ask():
    with connect() as client:
        ask(client, b"q")
        assert client.recv(1) == b""
connect_and_ask()  # finds the neighbours' Ethernet addresses
seconds, requests = float(sys.argv[2]), 0
end = time.perf_counter() + seconds
while time.perf_counter() < end:
    connect_and_ask()
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
    for pid in subprocess.run(["pgrep", "-x", "pas[st][at].*"], capture_output=True, text=True,
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


def measure(name: str, world: int, seconds: float) -> Dict[str, float]:
    where, address, options = WAYS[name]
    enter = ["nsenter", f"--target={world}", "--net"] if where == "world" else []
    running = start_servers(os.path.realpath(os.environ["PROGRAMS"]), options)
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


def in_a_new_world(name: str, seconds: float) -> Dict[str, float]:
    with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 100000"],
                          stdout=subprocess.PIPE) as world:
        try:
            assert world.stdout is not None and world.stdout.readline() == b"\n"
            subprocess.run(["sh", "-ec", SET_UP, str(world.pid)], check=True)
            return measure(name, world.pid, seconds)
        finally:
            world.kill()


def on_a_new_host(name: str, seconds: float) -> Dict[str, float]:
    """In a process of its own, because a host remembers connections for two minutes, and the next
    container would not get those that look the same."""
    words = ["unshare", "--net", "--mount", sys.executable, *sys.orig_argv[1:], "--only", name]
    return json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=1, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=7, help="of all, of which the median counts")
    parser.add_argument("--ahead", action="store_true", help="before all else that this machine"
                        " does (SCHED_FIFO), because it never is calm")
    parser.add_argument("--json", help="write it to this file, for the slides")
    parser.add_argument("--only", choices=list(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        print(json.dumps(in_a_new_world(arguments.only, arguments.seconds)))
        return
    if arguments.ahead:  # and so are all processes that we start
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    rounds = [{name: on_a_new_host(name, arguments.seconds) for name in WAYS}
              for _ in range(arguments.rounds)]

    def row(name: str) -> Sequence[str]:
        middle = {key: statistics.median(one[name][key] for one in rounds)
                  for key in rounds[0][name]}
        return (name, f"{middle['requests']:.0f}", f"{middle['median']:.0f}",
                f"{middle['p99']:.0f}", f"{middle['gbits']:.1f}", f"{middle['cpu']:.0f}")

    record(arguments.json, "A published port, from another machine", [
        "way", "connections/s", "byte there and back, µs", "slowest of 100, µs", "Gbit/s",
        "CPU, ms per Gbit"], [row(name) for name in WAYS])


if __name__ == "__main__":
    main()
