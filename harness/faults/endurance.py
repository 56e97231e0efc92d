"""Many starts: in a row, at the same time, while the root changes, on one bridge. They must leave
nothing, use no more and more of anything, and not fail."""

from __future__ import annotations

import dataclasses
import re
import time
from typing import Callable, Dict, List, Optional

from harness.agent_client import Json
from harness.faults.configurations import CONFIGURATIONS, FOLDER, ROOT, Configuration
from harness.faults.world import World

PATIENCE = 60.0  # seconds for one start, of many at once
OPEN_RUNS = 100  # ended programs that the agent still knows of, and more while there are janitors


@dataclasses.dataclass
class Tally:
    """The outcome of many starts."""

    what: str
    done: int = 0
    slowest: float = 0.0  # milliseconds
    failures: List[str] = dataclasses.field(default_factory=list)
    left: List[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0
    more: str = ""

    @property
    def is_good(self) -> bool:
        return self.done > 0 and not self.failures and not self.left

    def __str__(self) -> str:
        each = 1000 * self.seconds / max(1, self.done)
        lines = [f"{self.what}: {self.done} in {self.seconds:.0f} s, {each:.1f} ms each, slowest"
                 f" {self.slowest:.0f} ms{self.more}; {len(self.failures)} failed; left:"
                 f" {', '.join(self.left) or 'nothing'}"]
        return "\n  ".join(lines + self.failures[:5])


class Marathon:
    """Starts and ends containers in one world, and looks at what they leave together."""

    def __init__(self, world: World, what: str, bridge: bool = False) -> None:
        self.world = world
        self.tally = Tally(what)
        self.slice = world.new_cgroup(user=True)
        self.bridge = bridge
        self.ended: List[int] = []
        self.looked_at = CONFIGURATIONS["08c-bridge" if bridge else "08c-none"]
        self.before = self._gauges()
        self.states = world.state(self.slice, self.looked_at)
        self.started = time.monotonic()

    def start(self, configuration: Configuration, command: List[str]) -> int:
        return self.world.start(configuration, self.slice, command)

    def end(self, run: int, status: int = 0, what: str = "") -> Json:
        """Waits for it, and counts it as failed if it ends otherwise."""
        done = self.world.agent.wait(run, PATIENCE * self.world.place.patience)
        if not done["over"]:
            self.tally.failures.append(f"{what}: hangs")
        elif done.get("exit") != status:
            self.tally.failures.append(f"{what}: {done.get('exit')}, signal {done.get('signal')}:"
                                       f" {done['stderr'][-200:]!r}")
        self.tally.done += 1
        self.tally.slowest = max(self.tally.slowest, done.get("ms", 0.0))
        self.ended.append(run)
        if len(self.ended) >= OPEN_RUNS:
            self._finish_ended()
        return done

    def _finish_ended(self) -> None:
        """Not while a janitor is at work: the agent would end it, together with everything that
        lives on after its program."""
        if not self.bridge or not self.world.processes():
            for run in self.ended:
                self.world.agent.ask("finish", run=run)
            self.ended = []

    def close(self) -> Tally:
        tally, world = self.tally, self.world
        tally.seconds = time.monotonic() - self.started
        processes = world.wait_for_processes(PATIENCE)
        time.sleep(1)
        tally.left = sorted(world.state(self.slice, self.looked_at) - self.states) + processes
        after = self._gauges()
        grown = {name: f"{self.before[name]} -> {value}" for name, value in after.items()
                 if value > self.before[name] * 1.1 + 10}
        tally.left += [f"more {name}: {text}" for name, text in grown.items()
                       if name not in ("Slab", "SUnreclaim")]
        tally.more += f", Slab {(after['Slab'] - self.before['Slab']) / 1024:+.0f} MB"
        world.end_cgroup(self.slice)
        return tally

    def _gauges(self) -> Dict[str, int]:
        """Numbers that grow if something is never released."""
        paths = ("/proc/meminfo", "/proc/self/mountinfo", "/proc/self/net/dev",
                 "/sys/fs/cgroup/cgroup.stat")
        text = {path: one.get("text", "") for path, one in self.world.agent.read(*paths).items()}
        gauges = {name: int(re.findall(rf"{name}:\s+(\d+)", text[paths[0]])[0])
                  for name in ("Slab", "SUnreclaim")}
        gauges["mounts"] = len(text[paths[1]].splitlines())
        gauges["links"] = len(text[paths[2]].splitlines())
        gauges["cgroups"] = int(re.findall(r"nr_descendants (\d+)", text[paths[3]])[0])
        return gauges


def in_a_row(world: World, size: Optional[int]) -> str:
    """One after the other."""
    tallies = []
    for name in ("05", "08c-none"):
        marathon = Marathon(world, f"{name} in a row")
        for _ in range(size or 5000):
            marathon.end(marathon.start(CONFIGURATIONS[name], ["/bin/busybox", "true"]), 0, name)
        tallies.append(str(marathon.close()))
    return "\n".join(tallies)


def at_once(world: World, seconds: Optional[int]) -> str:
    """50 of all kinds at a time."""
    names = [name for name, one in CONFIGURATIONS.items()
             if one.is_stage and not one.terminal and not one.cold and world.can_start(one)
             and one.own_root and not one.needs and "--keep" not in one.options]  # it is locked
    marathon = Marathon(world, "50 at once", bridge=True)
    running: List[tuple] = []
    end = time.monotonic() + (seconds or 300)
    number = 0
    while running or time.monotonic() < end:
        while len(running) < 50 and time.monotonic() < end:
            name = names[number % len(names)]
            number += 1
            configuration = with_ports(CONFIGURATIONS[name], 20000 + 2 * (number % 15000))
            busybox = ["/bin/busybox"] if configuration.has_root else [f"{ROOT}/bin/busybox"]
            run = marathon.start(configuration, [*busybox, "sh", "-c", "exit 7"])
            running.append((name, run))
        name, run = running.pop(0)
        marathon.end(run, 7, name)
    return str(marathon.close())


def with_ports(configuration: Configuration, first: int) -> Configuration:
    """Each of many containers publishes ports of its own."""
    options = list(configuration.options)
    for index, option in enumerate(options):
        if options[index - 1] == "-p":
            options[index] = f"{first}:{option.partition(':')[2]}"
            first += 1
    return dataclasses.replace(configuration, options=tuple(options))


# Each is what `swapped` leads to in turn, without a moment in which there is none.
EXCHANGE = """
import ctypes
exchange = ctypes.CDLL(None).renameat2
AT_FDCWD, RENAME_EXCHANGE = -100, 2
while True:
    for name in (b"link", b"folder", b"long-link"):
        exchange(AT_FDCWD, name, AT_FDCWD, b"swapped", RENAME_EXCHANGE)
"""


def swapped_links(world: World, size: Optional[int]) -> str:
    """A folder of the root becomes a link to the host, and a folder again, while containers mount
    on what is below it. Each start succeeds or is refused; no file of the host changes."""
    world.shell(f"mkdir -p {FOLDER}/outside/below {ROOT}/folder/below {ROOT}/swapped/below;"
                f" echo secret >{FOLDER}/outside/secret; ln -s {FOLDER}/outside {ROOT}/link;"
                f" ln -s ../../../../../..{FOLDER}/outside {ROOT}/long-link")
    swapping = world.agent.start(["python3", "-c", EXCHANGE], program="/usr/bin/python3", cwd=ROOT,
                                 time_limit=3600)["run"]
    marathon = Marathon(world, "while links are swapped")
    before = world.shell(f"find {FOLDER}/outside")
    configuration = dataclasses.replace(
        CONFIGURATIONS["06"], options=("-v", f"{FOLDER}/volume:/swapped/below/deeper",
                                       "--tmpfs", "/swapped/below", "-w", "/swapped/below"))
    refused = 0
    script = "[ ! -e /swapped/secret ] || exit 1; [ -e /swapped/below/deeper/file ] || exit 9"
    for _ in range(size or 5000):
        run = marathon.start(configuration, ["/bin/busybox", "sh", "-c", script])
        done = world.agent.wait(run, PATIENCE)
        if done.get("exit") in (125, 126, 127):
            refused += 1
            marathon.tally.done += 1
            world.agent.ask("finish", run=run)
        else:
            marathon.end(run, done.get("exit") if done.get("exit") == 9 else 0, "swap")
    world.agent.ask("finish", run=swapping)
    after = world.shell(f"find {FOLDER}/outside")
    marathon.tally.left += [] if before == after else [f"on the host: {after}"]
    marathon.tally.more = f", {refused} refused"
    tally = marathon.close()
    world.shell(f"cd {ROOT}; rm -rf link folder long-link swapped tmp/faults {FOLDER}/outside")
    return str(tally)


def bridges(world: World, size: Optional[int]) -> str:
    """All on one bridge, alive at the same time, each with an address of its own."""
    size = size or 100
    marathon = Marathon(world, f"{size} on one bridge", bridge=True)
    script = "read line; ip -4 -o addr show eth0; ping -c 1 -W 5 10.79.0.1 >/dev/null && echo pong"
    runs = []
    for number in range(size):
        configuration = with_ports(CONFIGURATIONS["08c-bridge"], 20000 + 2 * number)
        runs.append(marathon.start(configuration, ["/bin/busybox", "sh", "-c",
                                                   f"echo started; {script}"]))
    for run in runs:
        world.agent.expect(run, "started", PATIENCE * world.place.patience)
    for run in runs:
        world.agent.write(run, "\n", close=True)
    said = [marathon.end(run, 0, "bridge")["stdout"] for run in runs]
    addresses = [address for text in said for address in re.findall(r"inet ([0-9.]+)", text)]
    if len(set(addresses)) != size:
        marathon.tally.failures.append(f"{len(set(addresses))} different addresses")
    marathon.tally.failures += [f"no answer of the gateway: {text!r}" for text in said
                                if "pong" not in text]
    return str(marathon.close())


ENDURANCE: Dict[str, Callable[[World, Optional[int]], str]] = {
    "in a row": in_a_row, "at once": at_once, "swapped links": swapped_links, "bridges": bridges,
}
