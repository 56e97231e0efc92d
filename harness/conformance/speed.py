"""How long do create, start and delete take? Stage 11 beside crun and runc, in turns.

    sudo bazel run //harness/conformance:speed -- [--vm] [--rounds 20]

With and without a seccomp profile: the part of podman's, see containers-common, that asks for no
arguments and no capability.
"""

from __future__ import annotations

import json
import pathlib
import statistics
import sys
import tempfile
import time
from typing import Any, Dict, List

from harness.conformance import places
from harness.conformance.configs import Tried, plain

PROFILE = pathlib.Path("/usr/share/containers/seccomp.json")


def profile() -> Dict[str, Any]:
    rules = json.loads(PROFILE.read_text())
    plain_rules = [{"names": rule["names"], "action": rule["action"]}
                   for rule in rules["syscalls"]
                   if not any(rule.get(key) for key in ("args", "includes", "excludes"))]
    return {"defaultAction": rules["defaultAction"],
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": plain_rules}


def milliseconds(runtime: Tried) -> float:
    before = time.perf_counter()
    for words in (["create", "--bundle", str(runtime.bundle), "c"], ["start", "c"],
                  ["delete", "--force", "c"]):
        if runtime.call(*words) != 0:
            raise SystemExit(f"{' '.join(runtime.words + words)}: {runtime.said()}")
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
            times: Dict[str, List[float]] = {name: [] for name in tried}
            for runtime in tried.values():
                runtime.write(config)
                milliseconds(runtime)  # a filter that is compiled once
            for _ in range(rounds):
                for name, runtime in tried.items():
                    times[name].append(milliseconds(runtime))
            medians = {name: statistics.median(found) for name, found in times.items()}
            ours = medians[places.OURS]
            rows.append([what, *(f"{medians[name]:.1f} ms (× {medians[name] / ours:.1f}; least"
                                 f" {min(times[name]):.1f})" for name in tried)])
    return places.table([f"median of {rounds}", *tried], rows)


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
