"""Tells an instructor what is missing for a class: what the stages need, and what a room needs.

  bazel run //harness:preflight

To be run the day before, on each machine. It makes and downloads nothing: what it names does.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from typing import Sequence

from harness.learning import doctor
from harness.learning.doctor import Fails, Operation
from harness.vm import image

BUILT = doctor.REPOSITORY / "bazel-bin"
STAGES = sorted((doctor.REPOSITORY / "stages").glob("[0-9]*_*/main.cc"))
LEAST_SPACE = 4 << 30  # bytes: a copied userspace, layers, a virtual machine's disk


def built(path: str) -> str:
    if not (BUILT / path).exists():
        raise Fails(f"bazel-bin/{path} is not there")
    return path


def find_stages() -> str:
    for main in STAGES:
        built(f"stages/{main.parent.name}/{main.parent.name}")
    return f"{len(STAGES)} stages are built"


def find_harness() -> str:
    for path in ("harness/agent/agent", "harness/probe/static/probe", "harness/matrix.sh",
                 "harness/start.sh"):
        built(path)
    return "the checks are built: matrix, start and what they start"


def find_slides() -> str:
    size = (BUILT / built("slides/slides.html")).stat().st_size
    return f"slides.html, one file of {size >> 20} MB"


def find_disk() -> str:
    folders = image.cache_directory() / "vm"
    suite = image.SUITES[image.DEFAULT_KERNEL]
    found = [path for path in sorted(folders.glob(f"{suite}-*")) if (path / "root.ext4").exists()]
    if not found:
        raise Fails(f"{folders} has no disk for the kernel {image.DEFAULT_KERNEL}")
    return str(found[-1])


def become_root() -> str:
    if os.geteuid() == 0:
        return "you are root"
    if doctor.find_program("sudo") is None:
        raise Fails(f"you are {doctor.user_name()}, and there is no sudo")
    return "sudo will ask for a password"


def find_space() -> str:
    place = image.cache_directory()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < LEAST_SPACE:
        raise Fails(f"{place} has {free >> 20} MB left, and not {LEAST_SPACE >> 20}")
    return f"{free >> 30} GB at {place}"


def find_second_terminal() -> str:
    if os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        return "a window for each"
    if doctor.find_program("tmux") is None:
        raise Fails("neither windows nor tmux")
    return "tmux"


def fix_disk(_: str) -> str:
    return f"{doctor.VM} -- true, with the network"


OPERATIONS = (
    Operation("the stages", find_stages, lambda _: "bazel build //stages/...",
              lost="a start without minutes of building first", vm_avoids=False),
    Operation("the checks", find_harness, lambda _: "bazel build //harness:all",
              lost="the exercises' checks", vm_avoids=False),
    Operation("the slides", find_slides, lambda _: "./setup.sh && bazel build //slides",
              lost="the deck", vm_avoids=False),
    Operation("the VM's disk", find_disk, fix_disk, lost="the virtual machine without a network",
              vm_avoids=False),
    Operation("root", become_root, lambda _: doctor.VM, lost="demonstrations of 02 to 04",
              vm_avoids=False),
    Operation("space on the disk", find_space, lambda _: "bazel run //rootfs:cache -- prune",
              lost="--userspace full and images", vm_avoids=False),
    Operation("two terminals", find_second_terminal, lambda _: "sudo apt-get install tmux",
              lost="demonstrations that look from the host", vm_avoids=False),
)

# What the doctor finds besides concerns some stages: its verdict names them.
NEEDED = {operation.name for operation in OPERATIONS} | {"packages"}


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="harness.preflight",
                                     description=__doc__.split("\n", 1)[0])
    parser.parse_args(words)
    findings = doctor.examine_all([*OPERATIONS, *doctor.OPERATIONS])
    print(doctor.tell(findings))
    missing = [finding.name for finding in findings if not finding.works
               and finding.name in NEEDED]
    print("ready for a class" if not missing else f"not ready for a class: {', '.join(missing)}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
