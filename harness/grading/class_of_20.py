"""A class of twenty to grade stage 05 with: every kind of submission that one has to expect.

  python3 -m harness.grading.class_of_20 DIR
  python3 -m harness.grade --stage 05 --roster DIR/roster.csv --submissions DIR/submissions \\
    --output DIR/results

Correct ones that are built in four ways, one in another style, mutants, and some that hang, fork,
spy or are not a program. Each names the expected result.
"""

from __future__ import annotations

import csv
import dataclasses
import pathlib
import shutil
import sys
from typing import Callable, FrozenSet, List, Sequence

from harness import matrix
from harness.learning import start
from harness.mutants import table
from harness.learning.start import REPOSITORY

STAGE = "05"
PROGRAM = "05_userns"
MUTANTS = ("uid_and_gid_maps_swapped", "root_stays_root", "all_ids_mapped", "group_of_others",
           "init_shows_itself", "capabilities_dropped", "user_ignored",
           "no_user_namespace_for_root")
STOLEN = "this was stolen"

# It reports whatever it can read or reach of its grader.
SPY = f"""
for file in {REPOSITORY} /autograder /root/.ssh /home/*/.ssh ../roster.csv; do
  head -c 1 "$file" 2>/dev/null | grep -q . && echo "{STOLEN}: $file"
  ls "$file"/* 2>/dev/null | grep -q . && echo "{STOLEN}: $file"
done
find / -xdev -name exec.py -path '*harness/properties/*' 2>/dev/null | sed 's/^/{STOLEN}: /'
for address in 1.1.1.1 10.0.2.2 127.0.0.1; do
  timeout 2 bash -c "exec 3<>/dev/tcp/$address/80" 2>/dev/null && echo "{STOLEN}: $address"
done
"""
SPY_WHILE_BUILT = f"seen=$({SPY})\necho \"$seen\"\ncase $seen in *stolen*) exit 1 ;; esac"
ARM = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00\xb7\x00" + bytes(44)  # see elf(5)


@dataclasses.dataclass(frozen=True)
class Student:
    """A submission, and its expected result: a problem, or the rows that do not hold."""

    name: str
    hand_in: Callable[[pathlib.Path], None]
    problem: str = ""  # how it begins
    loses: FrozenSet[str] = frozenset()
    loses_all: bool = False  # it never runs a command


def ready(program: pathlib.Path) -> Callable[[pathlib.Path], None]:
    """A program as Bazel has built it, and the built-in root at the path where the program expects
    it."""
    def hand_in(folder: pathlib.Path) -> None:
        place = folder / "stages" / PROGRAM / PROGRAM
        place.parent.mkdir(parents=True)
        shutil.copy(program, place)
        (folder / "rootfs").mkdir()
        shutil.copy(start.built("rootfs/rootfs.tar"), folder / "rootfs")
    return hand_in


def by_script(folder: pathlib.Path) -> None:
    ready(stage_05())(folder / "given")
    script(folder, "build.sh", "mv given/rootfs . && mv given/stages .")


def by_make(folder: pathlib.Path) -> None:
    """The folder of a learner who began with `start` and has written the layer as we did."""
    start.make_folder(STAGE, folder)
    own = start.folder_of(STAGE)
    for path in [*start.sources(own), own / "main.cc"]:
        shutil.copy(path, folder / "stages" / own.name)


def by_bazel(folder: pathlib.Path) -> None:
    """All of this repository except build results and the slides."""
    shutil.copytree(REPOSITORY, folder, dirs_exist_ok=True, symlinks=True,
                    ignore=shutil.ignore_patterns("bazel-*", ".git", "slides", "__pycache__"))


def in_another_style(folder: pathlib.Path) -> None:
    shutil.copy(REPOSITORY / "harness/solutions/unshare_container.sh", folder / "05_unshare")


def with_files(**files: str) -> Callable[[pathlib.Path], None]:
    """Scripts. Double underscores stand for dots."""
    def hand_in(folder: pathlib.Path) -> None:
        for name, text in files.items():
            script(folder, name.replace("__", "."), text)
    return hand_in


def script(folder: pathlib.Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def for_arm(folder: pathlib.Path) -> None:
    (folder / "05_arm").write_bytes(ARM)
    (folder / "05_arm").chmod(0o755)


def stage_05() -> pathlib.Path:
    return pathlib.Path(matrix.stages_of_this_toolkit()[STAGE].path)


def students(unshare_loses: Sequence[str]) -> List[Student]:
    """`unshare_loses`: what harness/solutions knows of the one in another style."""
    mutants = {mutant.name: mutant for mutant in table.load() if mutant.stage == PROGRAM}
    return [
        Student("Ada", ready(stage_05())),
        Student("Bjarne", by_bazel),
        Student("Margaret", by_make),
        Student("Ken", by_script),
        Student("Linus", in_another_style, loses=frozenset(unshare_loses)),
        *(Student(f"mutant {name}", ready(start.built(f"harness/mutants/{PROGRAM}-{name}")),
                  loses=frozenset([mutants[name].caught_by, *mutants[name].also]))
          for name in MUTANTS),
        Student("hangs", with_files(**{"05_hangs": "sleep infinity & wait"}), loses_all=True),
        Student("forks", with_files(**{"05_forks": "f() { f | f & }; f; wait"}), loses_all=True),
        Student("spy", with_files(build__sh=SPY_WHILE_BUILT, **{"05_spy": SPY}), loses_all=True),
        Student("other processor", for_arm, "05_arm is for another processor: aarch64"),
        Student("no build", with_files(build__sh="gcc -o 05_none none.c"), "its build failed"),
        Student("endless build", with_files(build__sh="while :; do sleep 1; done"),
                "its build does not end"),
        Student("nothing", lambda folder: None, "no build.sh, Makefile or BUILD.bazel"),
    ]


def make(folder: pathlib.Path, those: Sequence[Student]) -> None:
    """Writes roster.csv, and a folder for each."""
    (folder / "submissions").mkdir(parents=True)
    with open(folder / "roster.csv", "w", newline="", encoding="utf-8") as roster:
        lines = csv.writer(roster)
        lines.writerow(["name", "submission"])
        for student in those:
            place = student.name.lower().replace(" ", "_")
            lines.writerow([student.name, place])
            (folder / "submissions" / place).mkdir()
            student.hand_in(folder / "submissions" / place)


if __name__ == "__main__":
    make(pathlib.Path(sys.argv[1]), students([]))
