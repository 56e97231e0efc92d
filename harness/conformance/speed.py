"""How long do create, start and delete take? Stage 11 beside crun, runc and the floor, in turns.

    sudo bazel run //harness/conformance:speed -- [--vm] [--rounds 20]

With and without a seccomp profile: the part of podman's, see containers-common, that asks for no
arguments and no capability. The floor is what the kernel itself needs: it starts three programs
that do nothing, as these are three calls, the first in new namespaces.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Any, Dict, List

from harness.conformance import places
from harness.conformance.configs import Tried, plain

FLOOR = "floor"
PROFILE = pathlib.Path("/usr/share/containers/seccomp.json")


def profile() -> Dict[str, Any]:
    def is_plain(rule: Dict[str, Any]) -> bool:
        asked = rule.get("includes") or {}
        return (not rule.get("args") and not rule.get("excludes") and set(asked) <= {"arches"}
                and "amd64" in asked.get("arches", ["amd64"]))

    rules = json.loads(PROFILE.read_text())
    plain_rules = [{"names": rule["names"], "action": rule["action"]}
                   for rule in rules["syscalls"] if is_plain(rule)]
    return {"defaultAction": rules["defaultAction"],
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": plain_rules}


def call(runtime: Tried, *words: str) -> None:
    """Without a time limit, because subprocess.run() would then look for the end of the process
    after 0.5 ms, 1.5 ms, 3.5 ms, 7.5 ms and so on, and not wait for it."""
    if runtime.call(*words, timeout=None) != 0:
        raise SystemExit(f"{' '.join(runtime.words)} {' '.join(words)}: {runtime.said()}")


def try_once(runtime: Tried) -> None:
    """It can compile its filter. With it, the command must run."""
    call(runtime, "create", "--bundle", str(runtime.bundle), "c")
    call(runtime, "start", "c")
    time.sleep(0.5)
    if runtime.state().get("status") != "running":
        raise SystemExit(f"{runtime.words[0]}: the command has ended: {runtime.said()}")
    call(runtime, "delete", "--force", "c")


def milliseconds(runtime: Tried) -> float:
    before = time.perf_counter()
    call(runtime, "create", "--bundle", str(runtime.bundle), "c")
    call(runtime, "start", "c")
    call(runtime, "delete", "--force", "c")
    return (time.perf_counter() - before) * 1e3


def milliseconds_of_floor() -> float:
    true = shutil.which("true") or "true"
    before = time.perf_counter()
    for words in ([os.path.abspath("harness/benchmarks/floor"), true], [true], [true]):
        subprocess.run(words, stdin=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - before) * 1e3


def measure(rounds: int) -> str:
    rows = []
    with tempfile.TemporaryDirectory(prefix="speed-", dir="/tmp") as name:
        tried = {name: Tried(name, words, pathlib.Path(folder))
                 for folder in [name] for name, words in places.runtimes().items()}
        for what, filtered in (("no seccomp profile", False), ("podman's profile", True)):
            config = plain()
            config["process"]["args"] = ["sleep", "1000"]
            if filtered:
                config["linux"]["seccomp"] = profile()
            times: Dict[str, List[float]] = {name: [] for name in [*tried, FLOOR]}
            for runtime in tried.values():
                runtime.write(config)
                try_once(runtime)
            for _ in range(rounds):
                for name, runtime in tried.items():
                    times[name].append(milliseconds(runtime))
                times[FLOOR].append(milliseconds_of_floor())
            medians = {name: statistics.median(found) for name, found in times.items()}
            ours = medians[places.OURS]
            rows.append([what, *(f"{medians[name]:.1f} ms (× {medians[name] / ours:.1f}; least"
                                 f" {min(times[name]):.1f})" for name in times)])
    return places.table([f"median of {rounds}", *tried, FLOOR], rows)


def main() -> int:
    parser = places.parser_of("speed", __doc__)
    parser.add_argument("--rounds", type=int, default=20)
    arguments = parser.parse_args()
    words = ["--rounds", str(arguments.rounds)]
    if arguments.vm:
        return places.run_in_vm(arguments.kernel, "speed", words)
    if not arguments.inside:
        return places.run_inside("speed", words)
    print(measure(arguments.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
