"""What does a sleeping container cost, compared with a virtual machine? Memory, and space on the
disk.

    sudo bazel run //harness/benchmarks:overhead -- --json slides/measured/overhead.json

Memory: the proportional set size (PSS) of all its processes on the host, see proc_pid_smaps(5),
which root may read. The kernel's own structures for it are not in that.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import time
from typing import Iterator, List

from harness.benchmarks.record import record
from harness.vm.image import image_for
from harness.vm.vm import Vm

MIB = 1 << 20


def family(pid: int) -> Iterator[int]:
    """A process and all its descendants."""
    yield pid
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            yield from family(int(child))


def memory(pids: List[int]) -> float:
    """In MiB."""
    kib = 0
    for pid in pids:
        for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                kib += int(line.split()[1])
    return kib * 1024 / MIB


def disk(*paths: pathlib.Path) -> float:
    """In MiB, as stored: holes use no space."""
    files = [file for path in paths for file in ([path] if path.is_file() else path.rglob("*"))]
    return sum(file.lstat().st_blocks * 512 for file in files) / MIB


def row(what: str, used: float, stored: float) -> List[str]:
    return [what, f"{used:.1f}", f"{stored:.1f}"]


def container(stage: str) -> List[str]:
    with subprocess.Popen([stage, "sh", "-c", "echo ready; exec sleep 1000"],
                          stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        if process.stdout.readline() != b"ready\n":
            raise SystemExit(f"{stage} did not start")
        time.sleep(0.5)
        pids = list(family(process.pid))
        used = memory(pids)
        os.kill(pids[1], 9)  # its PID 1: the stage then tidies up
    return row(os.path.basename(stage), used, disk(pathlib.Path("rootfs/rootfs.tar").resolve()))


def virtual_machine() -> List[str]:
    image = image_for()
    with Vm(restores=False) as vm:
        assert vm.qemu is not None
        with subprocess.Popen(vm.command(["sh", "-c", "echo ready; exec sleep 1000"]),
                              stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            used = memory(list(family(vm.qemu.pid)))
            process.kill()
    return row("a virtual machine (QEMU)", used, disk(image.disk, image.kernel, image.initramfs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--json", help="write it to this file, for the slides")
    arguments = parser.parse_args()
    rows = [container(os.path.realpath(path)) for path in sorted(os.environ["PROGRAMS"].split())]
    record(arguments.json, "A sleeping command", ["", "memory, MiB", "on disk, MiB"],
           rows + [virtual_machine()])


if __name__ == "__main__":
    main()
