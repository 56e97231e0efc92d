"""A class of twenty is graded unattended, in virtual machines: all get the expected scores, and
nothing remains. Ctrl-C while machines run, and the same command again.

Half an hour on two cores without KVM:  bazel test //harness:class_of_20_test
What is graded already is only judged:  --test_env=CLASS_OF_20=DIR
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from typing import Dict, Iterator, List, Set

import pytest

from harness.grading import class_of_20
from harness.grading.class_of_20 import STAGE, STOLEN, Student, students
from harness.solutions.test_solutions import LATER_MENDED, SOLUTIONS
from harness.learning.start import REPOSITORY

UNSHARE = next(solution for solution in SOLUTIONS if solution.name == "05_unshare")


@pytest.fixture(scope="module")
def those() -> List[Student]:
    return students(list(UNSHARE.loses))


@pytest.fixture(scope="module")
def folder(those) -> Iterator[pathlib.Path]:
    if "CLASS_OF_20" in os.environ:
        yield pathlib.Path(os.environ["CLASS_OF_20"])
        return
    made = pathlib.Path(tempfile.mkdtemp(prefix="class-of-20-", dir="/tmp"))
    made.chmod(0o755)
    class_of_20.make(made, those)
    yield made
    shutil.rmtree(made)


def start(folder: pathlib.Path) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-B", "-m", "harness.grade", "--stage", STAGE, "--roster", "roster.csv",
         "--submissions", "submissions", "--output", "results", "--build-limit", "300",
         "--stage-limit", "900"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "BUILD_WORKING_DIRECTORY": str(folder)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def on_this_machine(machines: Set[str]) -> Set[str]:
    """Traces of these virtual machines, of any submission, and of this class: processes, files in
    /tmp, mounts."""
    ours = (*machines, "/tmp/submission-", "/tmp/class-of-20-")
    processes = subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE, text=True,
                               check=True).stdout.splitlines()
    lines = processes + pathlib.Path("/proc/mounts").read_text().splitlines()
    lines += [str(path) for path in pathlib.Path("/tmp").iterdir()
              if not path.name.startswith("class-of-20-")]
    return {line for line in lines if any(name in line for name in ours)}


def machines_of(pid: int) -> Set[str]:
    """Their folders, which it holds locked."""
    links = (os.readlink(link) for link in pathlib.Path(f"/proc/{pid}/fd").iterdir())
    return {link for link in links if link.startswith("/tmp/box-vm-")}


class Watch:
    """Keeps which machines a process has had, and at its end looks for what is left."""

    def __init__(self, running: subprocess.Popen) -> None:
        self.before = on_this_machine(set())
        self.machines: Set[str] = set()
        self.running = running
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self) -> None:
        while self.running.poll() is None:
            with contextlib.suppress(OSError):
                self.machines |= machines_of(self.running.pid)
            time.sleep(0.2)

    def check_that_nothing_stays(self) -> None:
        """Builds of other users end at some time; a leftover never does."""
        self.thread.join()
        assert self.machines
        end = time.monotonic() + 120
        left = on_this_machine(self.machines) - self.before
        while left and time.monotonic() < end:
            time.sleep(1)
            left &= on_this_machine(self.machines)
        assert not left


@pytest.fixture(scope="module")
def graded(folder) -> Dict[str, dict]:
    """The results. The first run is stopped by Ctrl-C while two machines run."""
    if "CLASS_OF_20" not in os.environ:
        grade_in_two_runs(folder)
    saved = [json.loads(path.read_text()) for path in (folder / "results").glob("*.json")]
    return {grade["name"]: grade for grade in saved}


def grade_in_two_runs(folder: pathlib.Path) -> None:
    first = start(folder)
    watch = Watch(first)
    assert first.stderr is not None
    for line in first.stderr:
        if line.startswith("2/"):
            break
    end = time.monotonic() + 300
    while not machines_of(first.pid) and time.monotonic() < end:
        time.sleep(0.5)
    assert machines_of(first.pid), "no machine of its own runs"
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=120)
    assert first.returncode == 130 and "goes on from here" in said
    watch.check_that_nothing_stays()
    print("Ctrl-C leaves nothing", flush=True)

    began = time.monotonic()
    second = start(folder)
    watch = Watch(second)
    out, said = second.communicate()
    print(f"{time.monotonic() - began:.0f} s for the rest\n{said}\n{out}")
    assert said.count("as before") >= 2
    watch.check_that_nothing_stays()


@pytest.mark.parametrize("number", range(20))
def test_each_gets_what_he_deserves(number, those, graded):
    student = those[number]
    grade = graded[student.name]
    if student.problem:
        assert grade["problem"].startswith(student.problem) and grade["score"] == 0
        return
    assert not grade["problem"], grade["log"]
    rows = {result["property"] for result in grade["results"]}
    lost = {result["property"] for result in grade["results"] if result["outcome"] != "passed"}
    if student.loses_all:
        assert not rows - lost, f"of a program that runs nothing, these hold: {rows - lost}"
        return
    expected = set(student.loses)
    assert lost - expected == set(), "it loses what it should not"
    assert expected - lost <= LATER_MENDED, "it keeps what it cannot"


def test_the_spy_has_learnt_nothing(graded):
    assert STOLEN not in json.dumps(graded)


def test_the_table_has_all_of_them(folder, those, graded):
    table = list(csv.DictReader((folder / "results/grades.csv").read_text().splitlines()))
    assert [line["name"] for line in table] == [student.name for student in those]
    assert [int(line["score"]) for line in table] == [graded[line["name"]]["score"]
                                                      for line in table]
