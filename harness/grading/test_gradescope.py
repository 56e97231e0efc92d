"""Gradescope's zip, unpacked and run as Gradescope does, in a container with the same
restrictions."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import zipfile
from typing import Any, Callable, Dict

import pytest

from harness import matrix
from harness.grading.test_writers import check_gradescopes_rules

ZIP = pathlib.Path("harness/gradescope.zip")


@dataclasses.dataclass
class Gradescope:
    """/autograder, and how to run something there."""

    folder: pathlib.Path
    like_docker: Callable[..., subprocess.CompletedProcess]

    def run(self, *words: str) -> subprocess.CompletedProcess:
        return self.like_docker(*words, volumes=[f"{self.folder}:/autograder"])

    def hand_in(self, name: str, text: str) -> None:
        path = self.folder / "submission" / name
        path.write_text(text)
        path.chmod(0o755)


@pytest.fixture
def machine(like_docker, folder: pathlib.Path) -> Gradescope:
    for name in ("source", "submission", "results"):
        (folder / name).mkdir()
    unpack(folder / "source")
    shutil.copy(folder / "source/run_autograder", folder)
    return Gradescope(folder, like_docker)


def unpack(folder: pathlib.Path) -> None:
    """As unzip(1) does: with the modes."""
    with zipfile.ZipFile(ZIP) as made:
        for entry in made.infolist():
            os.chmod(made.extract(entry, folder), entry.external_attr >> 16 & 0o777)


def graded(machine: Gradescope, stage: str) -> Dict[str, Any]:
    (machine.folder / "source/stage").write_text(f"{stage}\n")
    done = machine.run("/autograder/run_autograder")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((machine.folder / "results/results.json").read_text())
    check_gradescopes_rules(told)
    return told


def test_the_zip_has_what_gradescope_asks_for():
    with zipfile.ZipFile(ZIP) as made:
        modes = {entry.filename: entry.external_attr >> 16 for entry in made.infolist()}
        assert made.read("stage") == b"01\n"
    for name in ("setup.sh", "run_autograder", "bin/agent", "bin/probe", "bin/busybox"):
        assert modes[name] & 0o111, name


def test_its_programs_need_no_library(machine):
    for program in (machine.folder / "source/bin").iterdir():
        told = subprocess.run(["readelf", "--dynamic", program], stdout=subprocess.PIPE, text=True,
                              check=True)
        assert "NEEDED" not in told.stdout


def test_where_all_is_installed_setting_up_changes_nothing(machine):
    done = machine.run("/autograder/source/setup.sh")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_correct_submission_has_all_points(machine):
    shutil.copy(matrix.stages_of_this_toolkit()["01"].path, machine.folder / "submission/01_mine")
    told = graded(machine, "01")
    points = sum(test.get("max_score", 0) for test in told["tests"])  # none if it is not testable
    lost = [test["name"] + test["output"] for test in told["tests"]
            if test.get("status") == "failed"]
    assert not lost, "\n".join(lost)
    assert told["score"] == points > 10


def test_a_wrong_submission_is_built_and_loses_points(machine):
    machine.hand_in(
        "Makefile", "01_mine:\n\tprintf '#!/bin/sh\\nexit 37\\n' >$@ && chmod +x $@\n")
    told = graded(machine, "01")
    assert told["score"] == 0  # it never runs a command
    failed = [test["name"] for test in told["tests"] if test.get("status") == "failed"]
    assert "stdin_arrives (as an ordinary user)" in failed


def test_it_cannot_reach_the_results(machine):
    machine.hand_in("01_mine", """#!/bin/sh
        echo '{"score": 99}' >/autograder/results/results.json
        mv /autograder/results /autograder/mine && echo moved >&2""")
    told = graded(machine, "01")
    assert told["score"] < 5 and "Permission denied" in json.dumps(told)
    assert "moved" not in json.dumps(told)


def test_what_a_container_forbids_is_no_ones_fault(machine):
    shutil.copy(matrix.stages_of_this_toolkit()["05"].path, machine.folder / "submission/05_mine")
    told = graded(machine, "05")
    scored = [test for test in told["tests"] if "score" in test]
    assert [test["name"] for test in scored] == ["it can be built"] and told["score"] == 1
    assert "this container does not allow a user namespace" in told["output"]


def test_a_build_that_fails_says_why(machine):
    machine.hand_in("build.sh", "echo no such thing; exit 3\n")
    told = graded(machine, "05")
    assert told["score"] == 0 and "no such thing" in told["output"]
