"""Gradescope's zip, unpacked and run as Gradescope does, in a container that forbids what Docker's
does: of our own, with stage 08b's capabilities and filter, and all ids of this machine."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import zipfile
from typing import Any, Dict, Iterator

import pytest

from harness import matrix
from harness.test_writers import check_gradescopes_rules

ZIP = pathlib.Path("harness/gradescope.zip")
SEEN = ("/usr", "/etc/passwd", "/etc/alternatives", "/var/lib/dpkg")  # of this machine, read-only
LINKS = ("bin", "sbin", "lib", "lib64")


@pytest.fixture(name="machine")
def gradescopes_machine() -> Iterator[pathlib.Path]:
    """A folder with root/, the container's, and autograder/, as Gradescope fills it."""
    if os.geteuid() != 0:
        pytest.skip("who is root in Gradescope's container has many ids: needs root")
    machine = pathlib.Path(tempfile.mkdtemp(prefix="gradescope-test-", dir="/tmp"))
    for name in ("root/etc", "root/tmp", "autograder/source", "autograder/submission",
                 "autograder/results"):
        (machine / name).mkdir(parents=True)
    for name in LINKS:
        (machine / "root" / name).symlink_to(f"usr/{name}")
    (machine / "root/tmp").chmod(0o1777)
    for folder in (machine, machine / "root", machine / "autograder"):
        folder.chmod(0o755)
    unpack(machine / "autograder/source")
    shutil.copy(machine / "autograder/source/run_autograder", machine / "autograder")
    yield machine
    shutil.rmtree(machine)


def unpack(folder: pathlib.Path) -> None:
    """As unzip(1) does: with the modes."""
    with zipfile.ZipFile(ZIP) as made:
        for entry in made.infolist():
            os.chmod(made.extract(entry, folder), entry.external_attr >> 16 & 0o777)


def run(machine: pathlib.Path, *words: str) -> subprocess.CompletedProcess:
    stage_08b = matrix.stages_of_this_toolkit()["08b"].path
    volumes = [word for path in SEEN for word in ("--volume", f"{path}:{path}:ro")]
    return subprocess.run(
        [stage_08b, "--rootfs", machine / "root", "--uid-map", "0:0:65536", "--gid-map",
         "0:0:65536", *volumes, "--volume", f"{machine}/autograder:/autograder", "--", *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        timeout=120, check=False)


def graded(machine: pathlib.Path, stage: str) -> Dict[str, Any]:
    (machine / "autograder/source/stage").write_text(f"{stage}\n")
    done = run(machine, "/autograder/run_autograder")
    assert done.returncode == 0, done.stdout
    told = json.loads((machine / "autograder/results/results.json").read_text())
    check_gradescopes_rules(told)
    return told


def hand_in(machine: pathlib.Path, program: str, name: str) -> None:
    shutil.copy(program, machine / "autograder/submission" / name)


def test_the_zip_has_what_gradescope_asks_for():
    with zipfile.ZipFile(ZIP) as made:
        modes = {entry.filename: entry.external_attr >> 16 for entry in made.infolist()}
        assert made.read("stage") == b"01\n"
    for name in ("setup.sh", "run_autograder", "bin/agent", "bin/probe", "bin/busybox"):
        assert modes[name] & 0o111, name


def test_its_programs_need_no_library(machine):
    for program in (machine / "autograder/source/bin").iterdir():
        told = subprocess.run(["readelf", "--dynamic", program], stdout=subprocess.PIPE, text=True,
                              check=True)
        assert "NEEDED" not in told.stdout


def test_where_all_is_installed_setting_up_changes_nothing(machine):
    done = run(machine, "/autograder/source/setup.sh")
    assert (done.returncode, done.stdout) == (0, "")


def test_a_correct_submission_has_all_points(machine):
    hand_in(machine, matrix.stages_of_this_toolkit()["01"].path, "01_mine")
    told = graded(machine, "01")
    assert told["score"] == sum(test["max_score"] for test in told["tests"]) > 10, told["output"]


def test_a_wrong_submission_is_built_and_loses_points(machine):
    (machine / "autograder/submission/Makefile").write_text(
        "01_mine:\n\tprintf '#!/bin/sh\\nexit 37\\n' >$@ && chmod +x $@\n")
    told = graded(machine, "01")
    assert 0 < told["score"] < 5
    failed = [test["name"] for test in told["tests"] if test.get("status") == "failed"]
    assert "stdin_arrives (as an ordinary user)" in failed


def test_it_cannot_reach_the_results(machine):
    (machine / "autograder/submission/01_mine").write_text(
        "#!/bin/sh\necho mine >/autograder/results/results.json; id -u >/tmp/who\n")
    (machine / "autograder/submission/01_mine").chmod(0o755)
    assert graded(machine, "01")["score"] < 5


def test_what_a_container_forbids_is_no_ones_fault(machine):
    hand_in(machine, matrix.stages_of_this_toolkit()["05"].path, "05_mine")
    told = graded(machine, "05")
    scored = [test for test in told["tests"] if "score" in test]
    assert [test["name"] for test in scored] == ["it can be built"] and told["score"] == 1
    assert "this container does not allow a user namespace" in told["output"]


def test_a_build_that_fails_says_why(machine):
    (machine / "autograder/submission/build.sh").write_text("echo no such thing; exit 3\n")
    told = graded(machine, "05")
    assert told["score"] == 0 and "no such thing" in told["output"]
