"""Stage 07, --cpus: how much CPU time a container gets."""

from __future__ import annotations

import time
from collections import Counter
from typing import Dict, List, Sequence

from harness.properties.cgroups import cgroups_of, grandchildren, limits_of, need_cgroup
from harness.properties.look import Ask, Look
from harness.properties.model import Property
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import ROOT, NotTestable, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="cpus_half", since="07", scene=cpu_half, observe=cpu_share_is("0.5"),
            needs=("own_cgroup",),
            holds="0.5 CPUs over 3 s, within a tenth, with --cpus 0.5", violated="more, or less",
            lesson="cpu.max is a share of a period: 50000 of 100000 microseconds.",
            man="7 cgroups", mistake="The quota does not fit the period, or the controller is off.",
            command="{stage} --rootfs {root} --cpus 0.5 -- /bin/sh -c 'while :; do :; done' & top"),
        Property(
            name="cpus_fifth", since="07", scene=cpu_small_and_large, identities=(ROOT,),
            observe=cpu_share_is("0.2"),
            needs=("own_cgroup",),
            holds="0.2 CPUs over 3 s, within a tenth, with --cpus 0.2", violated="more, or less",
            lesson="A container that is throttled sleeps for the rest of each period.",
            man="7 cgroups", mistake="The quota does not fit the period, or the controller is off.",
            command="{stage} --rootfs {root} --cpus 0.2 -- /bin/sh -c 'while :; do :; done' & top"),
        Property(
            name="cpus_more_than_one", since="07", scene=cpu_small_and_large, identities=(ROOT,),
            observe=cpu_share_is("1.5"),
            needs=("own_cgroup",),
            holds="1.5 CPUs over 3 s, within a tenth, with --cpus 1.5", violated="more, or less",
            lesson="The quota is that of all CPUs together, and may be more than the period.",
            man="7 cgroups", mistake="The quota ends at one CPU, or the controller is off.",
            command="{stage} --rootfs {root} --cpus 1.5 -- /bin/sh -c 'yes > /dev/null & yes >"
                    " /dev/null' & top"),
        Property(
            name="grandchildren_are_limited", since="07", scene=cpu_half,
            observe=grandchildren_are_limited,
            needs=("own_cgroup",),
            holds="grandchildren in sessions of their own are in the container's cgroup",
            violated="they are in that of the caller",
            lesson="A process is born in its parent's cgroup: a process that is moved late leaves"
                   " children behind.",
            man="7 cgroups", mistake="The command was moved when it had children already.",
            command="{stage} --rootfs {root} --cpus 0.5 -- /bin/sh -c '(yes > /dev/null &) &"
                    " wait'"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------

CPU_SECONDS = 3.0


def cpu_shares(stage: Stage, *shares: str) -> Look:
    """Containers with these numbers of CPUs, at the same time. In each, two grandchildren each use
    a CPU."""
    look = look_of(stage)
    need_cgroup(stage)
    look.facts["session"] = stage.cgroup
    look.facts["cpus"] = len([line for line in stage.agent.read("/proc/stat")["/proc/stat"]["text"]
                              .splitlines() if line.startswith("cpu")]) - 1
    stage.watch()
    runs = []
    namespaces: Dict[str, str] = {}  # PID namespace -> share
    for share in shares:
        runs.append(stage.start(stage.probe("hello", "burn=2", "hold=1"),
                                *limits_of(stage, "--cpus", share)))
        if not stage.wait_for_hold(look, runs[-1], share):
            return look
        for namespace in pid_namespaces(stage).values():
            namespaces.setdefault(namespace, share)
    share_of = {pid: namespaces[namespace] for pid, namespace in pid_namespaces(stage).items()}
    cgroups = look.facts["cgroups"] = sorted(set(cgroups_of(stage, list(share_of)).values()))
    time.sleep(0.3)
    # A machine that is short of CPU time itself gives them less; one whose timers are late gives
    # them sometimes less, sometimes more. Then the measurement is repeated, but not if they get all
    # CPU time because there is no limit, or if each period of a limit that is much too small ended
    # in waiting for the next.
    end = time.monotonic() + stage.time_limit
    while True:
        before = periods_of(stage, cgroups)
        used = measure_cpus(stage, share_of)
        periods = periods_of(stage, cgroups) - before
        look.facts["used"] = used
        as_limited = all(is_share(used[share], share) for share in shares)
        all_used = sum(used.values()) > 0.9 * look.facts["cpus"]
        much_too_small = any(used[share] < 0.75 * float(share) for share in shares)
        all_throttled = periods["nr_throttled"] > 0.9 * periods["nr_periods"]
        if (as_limited or all_used or much_too_small and all_throttled
                or time.monotonic() > end):
            break
    for run in runs:
        stage.agent.write(run["run"], "\n", close=True)
    for run in runs:  # while one runs, the other would take its processes for leftovers
        stage.agent.wait(run["run"], stage.time_limit)
    for run, share in zip(runs, shares):
        stage.end(look, run, share)
    return look


def is_share(used: float, share: str) -> bool:
    """Whether this many CPUs are what --cpus says, within a tenth."""
    return abs(used - float(share)) <= float(share) / 10


def measure_cpus(stage: Stage, shares: Dict[int, str]) -> Dict[str, float]:
    """How many CPUs the processes of each share use together."""
    before = cpu_times(stage, list(shares))
    time.sleep(CPU_SECONDS)
    after = cpu_times(stage, list(shares))
    used: Dict[str, float] = {}
    for pid, share in shares.items():
        seconds = (after[pid] - before[pid]) / (after[0] - before[0])
        used[share] = used.get(share, 0.0) + seconds
    return used


def periods_of(stage: Stage, cgroups: Sequence[str]) -> Counter[str]:
    """The number of periods of --cpus that these cgroups have had, and of those in which the whole
    quota was used."""
    counts: Counter[str] = Counter()
    for text in stage.agent.read(*[f"{cgroup}/cpu.stat" for cgroup in cgroups]).values():
        for line in text.get("text", "").splitlines():
            name, count = line.split()
            counts[name] += int(count)
    return counts


def pid_namespaces(stage: Stage) -> Dict[int, str]:
    pids = grandchildren(stage)
    links = stage.agent.readlink(*[f"/proc/{pid}/ns/pid" for pid in pids])
    return {pid: links[f"/proc/{pid}/ns/pid"]["text"] for pid in pids}


def cpu_times(stage: Stage, pids: Sequence[int]) -> Dict[int, float]:
    """The seconds for which each of them has run, and, as that of 0, the host's since its boot."""
    for _ in range(20):
        # The files are read one after the other: if the reader is interrupted, the times do not
        # belong together.
        texts = stage.agent.read("/proc/uptime", *[f"/proc/{pid}/stat" for pid in pids],
                                 "/proc/./uptime")
        start, end = (float(texts[path]["text"].split()[0])
                      for path in ("/proc/uptime", "/proc/./uptime"))
        if end - start <= 0.05:
            break
    seconds = {0: start}
    for pid in pids:
        fields = texts[f"/proc/{pid}/stat"]["text"].rpartition(")")[2].split()
        seconds[pid] = (int(fields[11]) + int(fields[12])) / 100  # USER_HZ
    return seconds


def cpu_half(stage: Stage) -> Look:
    return cpu_shares(stage, "0.5")


def cpu_small_and_large(stage: Stage) -> Look:
    return cpu_shares(stage, "0.2", "1.5")


# They measure time, so they run when nothing else does.
ALONE = {cpu_half, cpu_small_and_large}


# --- Observations ---------------------------------------------------------------------------------


def cpu_share_is(share: str):
    """Did the container use as much CPU time as --cpus says, within a tenth?"""
    def observe(look: Look) -> Seen:
        used = look.fact("used")[share]
        if float(share) + 0.3 > look.fact("cpus"):
            raise NotTestable(f"this machine has only {look.fact('cpus')} CPUs")
        told = f"its processes used {used:.3f} CPUs over 3 s, as /proc/PID/stat says on the host"
        if is_share(used, share):
            return holds(told)
        return violated(told)
    return observe


def grandchildren_are_limited(look: Look) -> Seen:
    cgroups, used = look.fact("cgroups"), look.fact("used")["0.5"]
    if look.fact("session") in cgroups:
        return violated(f"they are in {', '.join(cgroups)}, the cgroup of the process that started"
                        " it")
    if len(cgroups) != 1:
        raise ProbeBroke(f"they are in {cgroups}")
    if used > 0.55:
        return violated(f"they are in {cgroups[0]}, and use {used:.3f} CPUs")
    return holds(f"they are in {cgroups[0]}, and use {used:.3f} CPUs together")


ASKS: Dict[str, Ask] = {}  # the probe is asked only what the scene says
