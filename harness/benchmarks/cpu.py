"""What --cpus does: a busy shell loop at one CPU and at half of one, seen from outside.

    bazel run //harness/benchmarks:cpu -- --json slides/measured/cpu.json

In the virtual machine, which has cgroup v2. Prints the average of each, in percent of a CPU.
"""

from __future__ import annotations

import argparse
import os
import subprocess
from typing import List, Tuple

from harness.benchmarks.record import keep
from harness.vm.vm import Vm

BUSY = "while :; do :; done"
# The host's view: seconds since boot, and microseconds of CPU time that the cgroup has used.
WATCH = """
    07_cgroups --cpus {cpus} sh -c '{busy}' &
    sleep 1
    cd /sys/fs/cgroup/user.slice/user-0.slice/containers-under-the-hood-* || exit
    for i in $(seq {samples}); do
        read up idle </proc/uptime
        read name usage <cpu.stat
        echo "$up $usage"
        sleep 0.5
    done
    echo 1 >cgroup.kill
"""
CASES = (("--cpus 1", "1"), ("--cpus 0.5", "0.5"))


def watch(vm: Vm, cpus: str, samples: int) -> List[Tuple[float, float]]:
    """Seconds since the first sample, and percent of a CPU since the sample before."""
    script = WATCH.format(cpus=cpus, busy=BUSY, samples=samples)
    done = vm.run("bash", "-c", script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                  text=True)
    seen = [(float(up), float(usage) / 1e6) for up, usage in
            (line.split() for line in done.stdout.splitlines())]
    if len(seen) != samples:
        raise SystemExit(f"--cpus {cpus}: only {len(seen)} samples")
    return [(round(now - seen[0][0], 2), round((used - used_before) / (now - before) * 100, 1))
            for (before, used_before), (now, used) in zip(seen, seen[1:])]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--seconds", type=float, default=15, help="default: %(default)s")
    parser.add_argument("--json", help="write it to this file, for the slides")
    arguments = parser.parse_args()
    series = []
    with Vm(programs=os.environ["PROGRAMS"].split()) as vm:
        for name, cpus in CASES:
            points = watch(vm, cpus, int(arguments.seconds / 0.5))
            series.append({"name": name, "points": points})
            average = sum(percent for _, percent in points) / len(points)
            print(f"{name:<16} {average:5.1f} %", flush=True)
    keep(arguments.json, "A busy shell loop", x={"label": "seconds"},
         y={"label": "% of a CPU", "max": 120}, series=series)


if __name__ == "__main__":
    main()
