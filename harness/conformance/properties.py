"""Which rows of the property table hold for containers that podman starts, with stage 11 and with
crun as its runtime? And which classes of escape, see harness/ESCAPES.md, does that stop?

    sudo bazel run //harness/conformance:properties

As root, where the last stage's promises are asked for. Many are not podman's: it gives root's
containers no user namespace, for example. So what counts is the difference.
"""

from __future__ import annotations

import argparse
import collections
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from typing import Dict, List

from harness.conformance import places
from harness.escapes.classes import CLASSES, Escape
from harness.properties.verdict import STAGES
from harness.scorecard.scorecard import ADAPTERS

MARK = re.compile(r"^([a-z_0-9]+) +(\+|FAIL|ERR|skip|n/a)$", re.MULTILINE)
WORDS = {"+": "hold", "FAIL": "do not hold", "ERR": "could not be asked",
         "skip": "not testable here", "n/a": "podman has no such option"}
STORAGE = """
[storage]
driver = "vfs"
graphroot = "{folder}/graph"
runroot = "{folder}/run"
"""
SCRIPT = """#!/bin/bash
export CONTAINERS_CONF={folder}/containers.conf CONTAINERS_STORAGE_CONF={folder}/storage.conf
. {folder}/podman.sh
"""


# Of a class: the first of these that one of its rows has.
WORST = ("FAIL", "ERR", "+", "skip", "n/a")


def has_controllers() -> bool:
    controllers = pathlib.Path("/sys/fs/cgroup/cgroup.controllers")
    return controllers.exists() and bool(controllers.read_text().strip())


def adapter(folder: pathlib.Path, name: str, program: str) -> pathlib.Path:
    """The scorecard's script for podman, with this runtime."""
    folder.mkdir()
    for script in ("podman.sh", "options.sh"):
        shutil.copy(ADAPTERS / script, folder)
    (folder / "containers.conf").write_text(
        places.engine_world().containers_conf(name, program, has_controllers()))
    (folder / "storage.conf").write_text(STORAGE.format(folder=folder))
    path = folder / f"podman_{name}.sh"
    path.write_text(SCRIPT.format(folder=folder))
    path.chmod(0o755)
    return path


def marks_of(path: pathlib.Path, rows: List[str]) -> Dict[str, str]:
    lacks = subprocess.run([path, "--lacks"], check=True, stdout=subprocess.PIPE,
                           text=True).stdout.splitlines()
    words = [word for option in lacks for word in ("--lacks", option)]
    words += [word for row in rows for word in ("--property", row)]
    done = subprocess.run(
        [sys.executable, "-B", "-m", "harness.matrix", "--binary", path, "--stage",
         STAGES[-1].split("_")[0], "--as", "root", "--in", "host", *words],
        stdout=subprocess.PIPE, text=True, check=False)
    if "LOGS" in os.environ:
        pathlib.Path(os.environ["LOGS"], path.name).write_text(done.stdout)
    return dict(MARK.findall(done.stdout))


def mark_of(escape: Escape, marks: Dict[str, str]) -> str:
    return min((marks[row] for row in escape.rows if row in marks), key=WORST.index, default="")


def tables_of_classes(found: Dict[str, Dict[str, str]]) -> str:
    """How many are stopped, and each that is not with one of the runtimes."""
    lines = {escape.name: [mark_of(escape, marks) for marks in found.values()]
             for escape in CLASSES}
    counts = [[what, *(str(sum(line[i] == mark for line in lines.values()))
                       for i in range(len(found)))]
              for mark, what in {**WORDS, "": "have no row"}.items()]
    open_ = [[name, *(WORDS[mark] for mark in line)] for name, line in lines.items()
             if set(line) & {"FAIL", "ERR"}]
    return "\n\n".join([places.table([f"of {len(CLASSES)} classes of escape", *found], counts),
                        places.table(["not stopped with one of them", *found], open_)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="bazel run //harness/conformance:properties --",
                                     description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("rows", nargs="*", metavar="PROPERTY", help="default: all")
    arguments = parser.parse_args()
    if not arguments.inside:
        return places.run_inside("properties", arguments.rows)
    found = {}
    with tempfile.TemporaryDirectory(prefix="properties-", dir="/run") as name:
        for runtime, words in places.runtimes().items():
            if runtime != "runc":
                path = adapter(pathlib.Path(name, runtime), runtime, words[0])
                found[runtime] = marks_of(path, arguments.rows)
    counts = {runtime: collections.Counter(marks.values()) for runtime, marks in found.items()}
    print(places.table(["rows", *found], [[what, *(str(counts[runtime][mark]) for runtime in found)]
                                          for mark, what in WORDS.items()]))
    print("", tables_of_classes(found), sep="\n")
    different = [[f"`{row}`", *(WORDS[marks.get(row, "ERR")] for marks in found.values())]
                 for row in found[places.OURS]
                 if len({marks.get(row) for marks in found.values()}) > 1]
    if different:
        print("", places.table(["differs", *found], different), sep="\n")
    worse = [row for row in found[places.OURS] for marks in found.values()
             if marks.get(row) == "+" != found[places.OURS][row]]
    return 1 if worse else 0


if __name__ == "__main__":
    sys.exit(main())
