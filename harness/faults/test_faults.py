"""A sample of the sweep: each kind of verdict, and each kind of defect that a sweep has found."""

from __future__ import annotations

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time
from typing import Dict, Iterator, List, Optional, Tuple

import pytest

from harness.agent_client import HOST
from harness.faults import classify
from harness.faults.case import Bench, Record
from harness.faults.classify import (CLEAN, EXPLAINED, KILLED, NO_OWN_CGROUP, TOLD, TOLERATED,
                                     verdicts, wrong_message)
from harness.faults.configurations import CONFIGURATIONS
from harness.faults.faults import FAIL, KILL, KILL_OTHER, RESTART, Call, Fault
from harness.faults.results import Results
from harness.faults.surroundings import GROUPS, try_case
from harness.faults.sweep import Sweep, cases_of
from harness.faults.table import reproduce, what_happened
from harness.faults.tools import find_tools
from harness.faults.world import PATH, World, remove_left_cgroups

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="a world of its own needs root")
LAST = -1


@dataclasses.dataclass(frozen=True)
class Sample:
    """A case, identified by the call's arguments, because its number changes with each change of
    the program."""

    configuration: str
    kind: str
    process: str = "0"
    call: str = ""
    text: str = ""  # a regular expression, for a part of its arguments
    index: int = 0  # of the calls that fit
    error: str = ""
    case: str = ""  # of a group of surroundings
    good: Tuple[str, ...] = (CLEAN,)
    times: int = 1  # races are tried more than once

    @property
    def name(self) -> str:
        where = self.case or f"{self.process} {self.call} {self.text} {self.error}".strip()
        return f"{self.configuration}, {self.kind}: {where}"


SAMPLES = [
    # Starts that must be refused are refused, in one line that says why.
    Sample("05", FAIL, "0.0", "sethostname", error="EPERM"),
    Sample("05", FAIL, "0", "pipe2", error="EMFILE"),
    Sample("05", FAIL, "0.0", "execve", error="EACCES"),
    Sample("06", FAIL, "0.0", "pivot_root", error="EPERM"),
    Sample("06", FAIL, "0.0", "move_mount", index=LAST, error="EPERM"),
    Sample("06", FAIL, "0.0", "mount_setattr", index=LAST, error="ENOSYS"),
    Sample("08c-none", FAIL, "0.0.0", "seccomp", index=LAST, error="EINVAL"),
    Sample("08c-none", FAIL, "0.0.0", "close_range", error="EPERM"),
    Sample("08c-bridge", FAIL, "0", "socket", error="EMFILE"),
    # Optional steps are skipped, and the isolation is the same.
    Sample("05", FAIL, "0", "close", error="EIO", good=(TOLERATED,)),
    Sample("08c-none", FAIL, "0.0", "close", index=LAST, error="EIO", good=(TOLERATED,)),
    Sample("07", FAIL, "0", "mkdir", "containers", error="EROFS", good=(NO_OWN_CGROUP,)),
    # A process is killed.
    Sample("05", KILL, "0.0", "mount", good=(KILLED,)),
    Sample("08c-none", KILL, "0.0.0", "execve", good=(KILLED, classify.LEFT)),
    Sample("08c-bridge", KILL, "0.1", "setsid", good=(KILLED, classify.LEFT)),
    Sample("08c-bridge", KILL, "0", "wait4", index=LAST, good=(KILLED, classify.LEFT)),
    # Resources and surroundings.
    Sample("05", "descriptors", case="RLIMIT_NOFILE 4"),
    Sample("08c-none", "descriptors", case="RLIMIT_NOFILE 30", good=(TOLERATED,)),
    Sample("05", "files", case="closed: 0, 1, 2", good=(TOLERATED,)),
    Sample("05", "surroundings", case="the working directory is gone", good=(TOLERATED,)),
    Sample("02-cold", "caches", case="64k for the cache"),
    # The kinds of the defects that the first sweep has found.
    Sample("08c-bridge", "surroundings", case="nft fails"),
    Sample("08c-bridge", "surroundings", case="/dev is empty", good=(CLEAN, TOLERATED)),
    Sample("02-cold", RESTART, "0", "read", good=(KILLED,)),
    Sample("08c-bridge", RESTART, "0", "poll", index=2, good=(KILLED, EXPLAINED)),
    *[Sample("08c-bridge", "descriptors", case=f"RLIMIT_NOFILE {number}",
             good=(CLEAN, TOLERATED)) for number in range(10, 16)],
    Sample("08c-bridge", KILL_OTHER, "0.1", "setsid", good=(TOLD, TOLERATED, classify.LEFT)),
    Sample("08c-slirp-user", "processes", case="RLIMIT_NPROC 5", good=(CLEAN, TOLERATED)),
    Sample("02-cold", FAIL, "0", "flock", error="ENOLCK"),
    Sample("02-cold", FAIL, "0", "openat", r"\.partial ", error="EMFILE"),
    Sample("08b", FAIL, "0.0", "capget", error="EINVAL"),
    Sample("08b", FAIL, "0.0", "prctl", "^24 12$", error="EINVAL"),
    Sample("08c-bridge", "surroundings", case="umask 77", good=(TOLERATED,)),
    Sample("08c-none", "surroundings", case="umask 777", good=(TOLERATED,)),
    Sample("05", KILL_OTHER, "0.0", "sethostname", good=(TOLD,)),
    Sample("08c-none", KILL_OTHER, "0.0", "pivot_root", good=(TOLD, classify.LEFT)),
    Sample("08c-bridge", FAIL, "0.0", "rt_sigprocmask", error="EINVAL", times=4),
    Sample("08c-pasta-user", FAIL, "0.0", "rt_sigprocmask", error="EINVAL", times=4),
    Sample("07", FAIL, "0", "flock", error="ENOLCK", good=(CLEAN, NO_OWN_CGROUP)),
    Sample("07", FAIL, "0", "read", index=0, error="EIO", good=(CLEAN, TOLERATED, NO_OWN_CGROUP)),
    Sample("02-cold", FAIL, "0", "readlink", text="/proc/self/exe", index=LAST, error="EIO"),
    Sample("04-init", FAIL, "0.0", "signalfd4", error="EMFILE"),
    Sample("05-user-maps", FAIL, "0.0", "setgroups", error="EPERM"),
    Sample("05-user-maps", FAIL, "0.0", "setgroups", index=LAST, error="EPERM"),
    Sample("08c-bridge", "file size", case="RLIMIT_FSIZE 0", good=(CLEAN, TOLERATED)),
    # And those of the defects that the first sweep of all cases has found.
    Sample("03-minimal", "descriptors", case="RLIMIT_NOFILE 5"),
    Sample("06-terminal", FAIL, "0", "recvmsg", index=1, error="ENOMEM", times=4,
           good=(CLEAN, EXPLAINED)),
    Sample("08b-verbose", FAIL, "0.0", "poll", index=20, error="ENOMEM", good=(EXPLAINED,)),
    Sample("08c-bridge", FAIL, "0", "recvfrom", index=3, error="EIO", good=(CLEAN, TOLERATED)),
    Sample("08c-bridge", FAIL, "0.1", "recvfrom", "0x8000", index=-3, error="EIO",
           good=(TOLERATED,)),
    Sample("08c-bridge", "memory", case="RLIMIT_STACK 32 kB", good=(CLEAN, TOLERATED)),
    Sample("08c-bridge", "surroundings", case="/run is read-only"),
    Sample("08c-bridge", FAIL, "0.1", "openat", "/ip_forward", index=LAST, error="EMFILE",
           good=(TOLERATED,)),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(HOST, find_tools(), f"test-{os.getpid()}") as made:
        yield made


@pytest.fixture(scope="module")
def benches() -> Dict[str, Bench]:
    return {}


def find_call(bench: Bench, sample: Sample) -> Call:
    fitting = [call for call in bench.calls if call.process == sample.process
               and call.name == sample.call and re.search(sample.text, call.text)]
    assert fitting, f"{sample.configuration} makes no such call any more: {sample.name}"
    return fitting[sample.index]


def try_it(bench: Bench, sample: Sample) -> Record:
    if sample.kind in GROUPS:
        return try_case(bench, sample.kind, sample.case)
    return bench.try_fault(Fault(sample.kind, find_call(bench, sample), sample.error))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_sample(world: World, benches: Dict[str, Bench], sample: Sample) -> None:
    configuration = CONFIGURATIONS[sample.configuration]
    if not world.can_start(configuration):
        pytest.skip(f"this machine has no {configuration.needs}")
    if sample.configuration not in benches:
        benches[sample.configuration] = Bench(world, configuration)
    for _ in range(sample.times):
        record = try_it(benches[sample.configuration], sample)
        if not record.hit:  # the janitor needs one recvfrom(2) more or less now and then
            benches[sample.configuration] = Bench(world, configuration)
            record = try_it(benches[sample.configuration], sample)
        found = verdicts(record)
        assert set(found) <= set(sample.good), (
            f"{', '.join(found)}: {what_happened(record)}. {wrong_message(record)}\nOnce more:"
            f" {reproduce(record)}")


def test_each_usual_start_is_seen_from_outside(world: World, benches: Dict[str, Bench]) -> None:
    """The basis of verdicts: a container of 05 has namespaces, and the probe replies."""
    bench = benches.setdefault("05", Bench(world, CONFIGURATIONS["05"]))
    assert bench.key["namespace user"] == "own" and bench.key["namespace net"] == "host"
    assert bench.key["status CapEff"] == "000001ffffffffff"
    assert "mount=" in bench.key["asked forbidden_calls"]
    assert [call.process for call in bench.calls if call.name == "execve"] == ["0.0"]


def test_a_case_fits_the_world_in_which_it_is_tried(world: World) -> None:
    """A sweep plans in one world and tries in several: each has a user with a number of its own."""
    configuration = CONFIGURATIONS["08b-user"]
    planned = dict(cases_of(Bench(world, configuration), "surroundings", False))
    with World(HOST, find_tools(), "other") as other:
        record = planned["the working directory is gone"](Bench(other, configuration))
    assert verdicts(record) == [TOLERATED], what_happened(record)


def test_a_sweep_goes_on_where_it_was(tmp_path: object) -> None:
    results = Results(tmp_path / "results")  # type: ignore[operator]

    def sweep(every: int) -> Tuple[int, int]:
        run = Sweep(HOST, find_tools(), results, workers=1, every=every)
        before = len(list(results.records()))
        records = run.run(["05"], ["descriptors"])
        assert not run.problems
        return len(records), len(list(results.records())) - before

    first, new = sweep(8)
    assert first == new > 2
    with open(next(results.folder.glob("*.jsonl")), "a") as file:
        file.write('{"configuration": "05", "ki')  # where it was interrupted
    assert sweep(8) == (first, 0)
    more, new = sweep(4)
    assert more - first == new > 0


HOLD = """
    mkdir -p -m 755 /run/containers-under-the-hood
    exec flock /run/containers-under-the-hood/lock-$(stat -L -c %i /proc/self/ns/net) \\
        sh -c 'echo locked; exec sleep 60'"""


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP"])
def test_a_start_that_waits_for_the_bridges_lock_can_be_interrupted(world: World, name: str
                                                                    ) -> None:
    """Another start may have been stopped with the lock, or its nft hangs."""
    configuration = CONFIGURATIONS["08c-bridge"]
    slice_ = world.new_cgroup(user=False)
    before = world.state(slice_, configuration)
    held = world.agent.start(["sh", "-c", HOLD], program="/bin/sh", time_limit=60,
                             env={"PATH": PATH})["run"]
    assert world.agent.expect(held, "locked", 10)["found"]

    def processes_at_the_lock() -> int:
        return int(world.shell("ls -l /proc/[0-9]*/fd | grep -c lock-", check=False))

    holders = processes_at_the_lock()
    run = world.start(configuration, slice_, ["/probe"])
    end = time.monotonic() + 60
    while processes_at_the_lock() == holders:
        assert time.monotonic() < end, "the start does not open the lock"
    world.agent.signal(name, run=run)
    done = world.agent.wait(run, 30)
    assert done["over"] and done["exit"] == 128 + getattr(signal, f"SIG{name}"), done
    assert done["stderr"] == "08c_network: interrupted\n"
    world.agent.ask("finish", run=held)
    assert world.wait_for_processes(5) == []
    left = {line for line in world.state(slice_, configuration) - before}
    assert not [line for line in left if "lock-" not in line
                and line != "file /run/containers-under-the-hood"]
    world.clean_network()
    world.end_cgroup(slice_)


def machine() -> Dict[str, str]:
    """Files of this machine that a world could change."""
    cgroups = cgroups_named(f"faults-unchanged-{os.getpid()}*")
    files = {path: open(path).read() for path in (
        "/proc/self/mountinfo", "/proc/self/net/dev", "/proc/sys/net/ipv4/ip_forward",
        "/etc/passwd")}
    files["/proc/self/net/dev"] = str(re.findall(r"^ *(\S+):", files["/proc/self/net/dev"], re.M))
    return {**files, "cgroups": str(cgroups), "/tmp/faults": str(os.path.exists("/tmp/faults")),
            "/run": str(sorted(os.listdir("/run")))}


def cgroups_named(name: str, below: str = "/sys/fs/cgroup") -> List[str]:
    return subprocess.run(["find", below, "-name", name], text=True, check=False,
                          stdout=subprocess.PIPE).stdout.splitlines()


KILLED_SWEEP = """
import sys, time
from harness.agent_client import HOST
from harness.faults.tools import find_tools
from harness.faults.world import World
with World(HOST, find_tools(), sys.argv[1]) as world:
    world.new_cgroup(user=False)
    print(world.name, flush=True)
    time.sleep(60)
"""


def test_what_a_killed_sweep_has_left_is_removed(world: World) -> None:
    in_use = world.new_cgroup(user=False)
    with subprocess.Popen([sys.executable, "-c", KILLED_SWEEP, f"killed-{os.getpid()}"],
                          env={**os.environ, "PYTHONPATH": os.getcwd()}, text=True,
                          stdout=subprocess.PIPE, start_new_session=True) as sweep:
        assert sweep.stdout is not None
        name = sweep.stdout.readline().strip()
        os.killpg(sweep.pid, signal.SIGKILL)  # and its agent
    left, = cgroups_named(name)
    assert cgroups_named("session", left) != []
    end = time.monotonic() + 10 * HOST.patience  # it takes its agent a moment to end
    while os.path.exists(left) and time.monotonic() < end:
        remove_left_cgroups(HOST, "faults")
        time.sleep(0.1)
    assert not os.path.exists(left)
    assert world.shell(f"ls -d {in_use}/session", check=False) != ""
    world.end_cgroup(in_use)


def test_this_machine_is_as_before() -> None:
    before = machine()
    with World(HOST, find_tools(), f"unchanged-{os.getpid()}") as world:
        bench = Bench(world, CONFIGURATIONS["08c-bridge"])
        bench.try_fault(Fault(KILL, Call("0", "wait4", 1, "", "")))
        during: Optional[str] = world.shell("cat /etc/passwd")
    assert during is not None and "tester" in during  # the world was there
    assert machine() == before
