"""How long does a container take to start and end? Our stages beside bubblewrap, crun, unshare(1),
and the least that the kernel asks for; each runs /bin/true in the built-in root.

    sudo bazel run //harness/benchmarks:start -- --json slides/measured/start.json

All take turns, in an order that changes, so that a disturbance affects all of them. It goes on in a
mount and a cgroup namespace of its own, so this machine does not change. It needs root, like stages
02 to 04.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Dict, List

from harness.benchmarks.record import record
from harness.vm.image import VmError
from harness.vm.vm import Vm

FLOOR = "clone3, exec, wait: nothing else"
VIRTUAL = "a virtual machine (QEMU)"
RESTORED = "the same, from a snapshot"
# crun refuses cgroup v1 and v2 side by side; in a namespace of our own there is only v2.
SET_UP = ("mount --make-rprivate / && if [ -d /sys/fs/cgroup/unified ]; then"
          " mount --bind /sys/fs/cgroup/unified /sys/fs/cgroup; fi")


def start_and_end(words: List[str]) -> float:
    """In milliseconds."""
    before = time.perf_counter()
    pid = os.posix_spawn(words[0], words, os.environ, file_actions=[
        (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0)])
    status = os.waitpid(pid, 0)[1]
    after = time.perf_counter()
    if status != 0:
        raise SystemExit(f"{' '.join(words)} ended with status {os.waitstatus_to_exitcode(status)}")
    return (after - before) * 1e3


def crun_bundle(folder: pathlib.Path, root: pathlib.Path) -> pathlib.Path:
    """The output of `crun spec`, without a terminal, and without the cgroup mount of v1."""
    subprocess.run(["crun", "spec", "--bundle", folder], check=True)
    config = json.loads((folder / "config.json").read_text())
    config["process"].update(terminal=False, args=["/bin/true"])
    config["root"]["path"] = str(root)
    config["linux"].pop("resources", None)
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def contestants(root: pathlib.Path, scratch: pathlib.Path) -> Dict[str, List[str]]:
    programs = {os.path.basename(path): os.path.realpath(path)
                for path in os.environ["PROGRAMS"].split()}
    true = str(root / "bin/true")
    found = {"exec, wait": [true], FLOOR: [programs.pop("floor"), true]}
    for name, path in sorted(programs.items()):
        found[name] = [path, "/bin/true"] if name != "01_exec" else [path, true]
    others = {
        "unshare": ["--user", "--map-root-user", "--pid", "--fork", "--mount", "--uts", "--ipc",
                    "--net", "--cgroup", f"--root={root}", "--mount-proc", "/bin/true"],
        "bwrap": ["--unshare-all", "--bind", str(root), "/", "--proc", "/proc", "--dev", "/dev",
                  "--die-with-parent", "--new-session", "/bin/true"],
    }
    if shutil.which("crun"):
        bundle = scratch / "bundle"
        bundle.mkdir()
        others["crun"] = ["--cgroup-manager=disabled", "run", "--bundle",
                          str(crun_bundle(bundle, root)), f"start-{os.getpid()}"]
    found.update({name: [program, *words] for name, words in others.items()
                  if (program := shutil.which(name))})
    return found


def start_virtual_machine(restores: bool) -> float:
    before = time.perf_counter()
    with Vm(restores=restores) as vm:
        vm.run("true").check_returncode()
        return (time.perf_counter() - before) * 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--runs", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--vm-runs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--json", help="write it to this file, for the slides")
    arguments = parser.parse_args()
    if "IN_OWN_NAMESPACES" not in os.environ:
        os.environ["IN_OWN_NAMESPACES"] = "yes"
        os.execvp("unshare", ["unshare", "--mount", "--cgroup", "sh", "-c",
                              f'{SET_UP}; exec "$0" "$@"', *sys.orig_argv])

    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        root = scratch / "root"
        root.mkdir()
        root.chmod(0o755)
        scratch.chmod(0o755)
        subprocess.run(["tar", "-xf", "rootfs/rootfs.tar", "-C", root], check=True)
        starts = contestants(root, scratch)
        times: Dict[str, List[float]] = {what: [] for what in starts}
        for what, words in starts.items():  # caches are filled, mistakes found
            start_and_end(words)
        for _ in range(arguments.runs):
            for what in random.sample(sorted(starts), len(starts)):
                times[what].append(start_and_end(starts[what]))
    try:
        start_virtual_machine(True)  # the image and the snapshot are made
        for what, restores in ((VIRTUAL, False), (RESTORED, True)):
            times[what] = [start_virtual_machine(restores) for _ in range(arguments.vm_runs)]
    except VmError as error:
        print(f"no virtual machine: {error}", file=sys.stderr)

    floor = statistics.median(times[FLOOR])
    rows = [[what, f"{statistics.median(took):.1f}", f"{min(took):.1f}",
             f"{statistics.median(took) / floor:.1f}"] for what, took in times.items()]
    record(arguments.json, "Start, run /bin/true, end",
           ["", "median ms", "fastest ms", "times the floor"], rows)


if __name__ == "__main__":
    main()
