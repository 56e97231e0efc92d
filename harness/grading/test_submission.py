"""Submissions are built or refused as they should be, and a class is graded whatever it
contains."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import Dict, List

import pytest

from harness import places
from harness.grading import command, submission
from harness.grading.command import Limits, Results, Task, grade_one, tasks_of
from harness.grading.submission import NotGradable, program_of

C_PROGRAM = "int main(void) { return 37; }\n"
MAKEFILE = "05_mine: mine.c\n\tgcc -o $@ $<\n"
LIMITS = Limits(start=2.0, stage=20.0, build=5.0)
REPOSITORY = pathlib.Path(command.__file__).resolve().parents[2]


def folder_with(place: pathlib.Path, **files: str) -> pathlib.Path:
    """Double underscores stand for dots."""
    place.mkdir(exist_ok=True)
    for name, text in files.items():
        path = place / name.replace("__", ".")
        path.write_text(text)
        path.chmod(0o755)
    return place


@pytest.fixture(name="tmp_path")
def reachable_tmp_path(folder: pathlib.Path) -> pathlib.Path:
    """Builds run as another user, who may not go where pytest's own folders are."""
    return folder


def built(tmp_path: pathlib.Path, limit: float = 20.0, **files: str):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return program_of(folder_with(tmp_path / "theirs", **files), "05", scratch, limit)


@pytest.mark.parametrize("files", [
    {"Makefile": MAKEFILE, "mine__c": C_PROGRAM},
    {"build__sh": "gcc -o 05_mine mine.c", "mine__c": C_PROGRAM},
    {"build__sh": "mkdir out && gcc -o out/05 mine.c", "mine__c": C_PROGRAM},
], ids=["make", "script", "in a folder"])
def test_it_is_built_and_the_folder_stays_as_it_is(tmp_path, files):
    program = built(tmp_path, **files)
    assert subprocess.run([program.path], check=False).returncode == 37
    assert sorted(path.name for path in (tmp_path / "theirs").iterdir()) == sorted(
        name.replace("__", ".") for name in files)


def test_a_ready_program_is_taken_as_it_is(tmp_path):
    assert built(tmp_path, **{"05_ready": "#!/bin/sh\n"}).path.name == "05_ready"


@pytest.mark.parametrize("files, why", [
    ({"Makefile": "all:\n\tfalse\n"}, "its build failed: make"),
    ({"build__sh": "while :; do :; done"}, "its build does not end within 5 s"),
    ({"build__sh": "f() { f | f & }; f; while :; do sleep 9 & done"}, "its build failed"),
    ({"build__sh": "true"}, "its build has made no program called 05_"),
    ({"readme": "hello"}, "no build.sh, Makefile or BUILD.bazel"),
    ({"05_text": "no program"}, "05_text is neither a program nor a script"),
    ({"build__sh": "ln -s /bin/true 05_link"}, "its build has made no program"),
    ({"build__sh": "head -c 20M /dev/zero >large"}, "its build failed"),
])
def test_what_cannot_be_graded_says_why(tmp_path, monkeypatch, files, why):
    monkeypatch.setattr(submission, "LARGEST", 16 << 20)
    with pytest.raises(NotGradable) as refused:
        built(tmp_path, limit=5.0, **files)
    assert str(refused.value).startswith(why)
    assert "\n" not in str(refused.value)
    assert not [line for line in subprocess.run(["ps", "-eo", "args"], stdout=subprocess.PIPE,
                                                text=True, check=True).stdout.splitlines()
                if line.startswith("sh ./build.sh")]


def test_a_build_ends_when_all_is_stopped(tmp_path, monkeypatch):
    stopped = threading.Event()
    monkeypatch.setattr(places, "stopped", stopped)
    threading.Timer(0.5, stopped.set).start()
    start = time.monotonic()
    with pytest.raises(NotGradable):
        built(tmp_path, limit=60.0, build__sh="sleep 60")
    assert time.monotonic() - start < 20


def test_a_build_that_fills_the_disk_is_ended(tmp_path, monkeypatch):
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system: needs root")
    monkeypatch.setattr(submission, "LEAST_FREE", 16 << 20)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "small", tmp_path], check=True)
    try:
        tmp_path.chmod(0o755)
        with pytest.raises(NotGradable) as refused:
            built(tmp_path, build__sh="i=0; while :; do i=$((i+1)); head -c 1M /dev/zero >$i; done")
        assert str(refused.value) == "its build leaves less than 16 MiB on the disk"
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)


def test_what_was_cut_short_is_no_result(tmp_path, tools, monkeypatch):
    stopped = threading.Event()
    monkeypatch.setattr(places, "stopped", stopped)
    place = folder_with(tmp_path / "ada", build__sh="sleep 60")
    results = Results(tmp_path / "out", "01")
    arguments = argparse.Namespace(stage="01", place="host", jobs=1, again=False, hints=1, lacks=[])
    threading.Timer(0.5, stopped.set).start()
    with pytest.raises(KeyError):  # there is no grade of hers
        command.grade_class([Task("Ada", place)], results, arguments, tools, LIMITS)
    assert not list((tmp_path / "out").iterdir())


def test_a_program_for_another_processor_is_refused(tmp_path):
    arm = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + (183).to_bytes(
        2, "little") + bytes(44)
    place = folder_with(tmp_path / "arm", **{"05_arm": ""})
    (place / "05_arm").write_bytes(arm)
    (tmp_path / "scratch").mkdir()
    with pytest.raises(NotGradable, match="for another processor: aarch64"):
        program_of(place, "05", tmp_path / "scratch")


def test_a_build_sees_nothing_of_this_machine(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("grades")
    program = built(tmp_path, build__sh=f"""
        (cat {secret}; ls {tmp_path} /home /root; cat /etc/shadow) >seen 2>&1
        sed 's/^/net /' /proc/net/dev >>seen
        printf '#!/bin/sh\\n' >05_x; chmod +x 05_x""")
    seen = (program.path.parent / "seen").read_text()
    assert "grades" not in seen and "root:x:" not in seen
    assert [line.split()[1] for line in seen.splitlines()
            if line.startswith("net ") and ":" in line] == ["lo:"]


def test_links_out_of_a_submission_bring_nothing_along(tmp_path):
    (tmp_path / "secret").write_text("grades")
    place = folder_with(tmp_path / "theirs", **{"build__sh": "cat link >seen; touch 05; false"})
    (place / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "scratch").mkdir()
    with pytest.raises(NotGradable) as refused:
        program_of(place, "05", tmp_path / "scratch")
    assert "grades" not in refused.value.log


def test_a_link_hands_in_nobody_elses_submission(tmp_path):
    subs = tmp_path / "subs"
    for name in ("bob", "cyd"):
        (subs / name).mkdir(parents=True)
        (subs / name / "05_x").write_text("#!/bin/sh\n")
    (subs / "ada").symlink_to("bob")
    (subs / "cyd/05_y").symlink_to("../bob/05_x")
    lines: List[Dict[str, str]] = [
        {"name": "ada"}, {"name": "Ada", "submission": "ada/05_x"}, {"name": "bob"},
        {"name": "Cyd", "submission": "cyd/05_y"}, {"name": "Dan", "submission": "./cyd//05_x"}]
    assert ["link" in task.problem for task in tasks_of(lines, subs)] == [
        True, True, False, True, False]


# --- Grades ---------------------------------------------------------------------------------------


def test_a_roster_is_read_line_by_line(tmp_path):
    for name in ("ada", "bob"):
        (tmp_path / "subs" / name).mkdir(parents=True)
    lines: List[Dict[str, str]] = [
        {"name": "Ada", "submission": "ada"}, {"name": "bob"}, {"name": ""}, {"name": "bob"},
        {"name": "Eve"}, {"name": "Mallory", "submission": "../../etc"}]
    tasks = tasks_of(lines, tmp_path / "subs")
    assert [task.name for task in tasks] == ["Ada", "bob", "line 4", "bob (line 5)", "Eve",
                                             "Mallory"]
    assert [task.problem.split(" ")[0] for task in tasks] == ["", "", "line", "bob", "nothing",
                                                              "../../etc"]


def test_a_grade_is_saved_and_found_again_until_the_submission_changes(tmp_path, tools):
    place = folder_with(tmp_path / "ada", **{"01_ada": "#!/bin/sh\nshift\nexec \"$@\"\n"})
    task = Task("Ada / <Lovelace>", place)
    results = Results(tmp_path / "out", "01")
    grade = grade_one(task, "01", tools, "host", LIMITS)
    assert not grade.problem and 0 < grade.score < grade.max_score
    results.save(task, grade, 1)
    again = results.load(task)
    assert again is not None and (again.score, again.max_score, again.counts()) == (
        grade.score, grade.max_score, grade.counts())
    assert all(path.parent == tmp_path / "out" for path in (tmp_path / "out").rglob("*"))
    (place / "01_ada").write_text("#!/bin/sh\nexit 38\n")
    assert results.load(task) is None


def test_after_the_limit_of_a_stage_nothing_more_is_started(tmp_path, tools):
    place = folder_with(tmp_path / "ada", **{"01_ada": "#!/bin/sh\nsleep 60\n"})
    grade = grade_one(Task("Ada", place), "01", tools, "host", Limits(2.0, -1.0, 5.0))
    assert {result.got for result in grade.results} == {"the time for this program was over before"}
    assert grade.max_score == grade_one(Task("Eve", place, "gone"), "01", tools, "host",
                                        LIMITS).max_score


def start_class(tmp_path: pathlib.Path, *more: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-B", "-m", "harness.grade", "--stage", "01", "--host", "--jobs", "1",
         "--roster", "roster.csv", "--submissions", "subs", "--output", "out", *more],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "BUILD_WORKING_DIRECTORY": str(tmp_path)},
        cwd=os.getcwd(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def class_of_three(tmp_path: pathlib.Path) -> pathlib.Path:
    (tmp_path / "subs").mkdir()
    folder_with(tmp_path / "subs/ada", **{"01_ada": "#!/bin/sh\nshift\nexec \"$@\"\n"})
    folder_with(tmp_path / "subs/bob", Makefile="all:\n\tfalse\n")
    folder_with(tmp_path / "subs/cyd", **{"01_cyd": "#!/bin/sh\nexit 1\n"})
    folder_with(tmp_path / "subs/zoe")
    (tmp_path / "roster.csv").write_text("name,submission\nAda,ada\nBob,bob\nCyd,cyd\n")
    return tmp_path


def test_a_class_is_graded_and_nobody_stops_it(class_of_three):
    out, err = (running := start_class(class_of_three)).communicate(timeout=120)
    assert running.returncode == 0, err
    assert "zoe is not in any line of the roster" in err and "warning: their programs run" in err
    assert "2 of 3 graded" in out
    table = list(csv.DictReader(io.StringIO((class_of_three / "out/grades.csv").read_text())))
    assert [(line["name"], line["status"]) for line in table] == [
        ("Ada", "failed"), ("Bob", "error"), ("Cyd", "failed")]
    assert int(table[0]["score"]) > int(table[2]["score"]) and table[1]["score"] == "0"
    index = (class_of_three / "out/index.html").read_text()
    for page in class_of_three.glob("out/*-*.html"):
        assert f'href="{page.name}"' in index
    _, err = start_class(class_of_three).communicate(timeout=60)
    assert err.count("as before") == 3


def test_it_goes_on_where_it_was_stopped(class_of_three):
    folder_with(class_of_three / "subs/cyd", **{"01_cyd": "#!/bin/sh\nsleep 60\n"})
    running = start_class(class_of_three)
    assert running.stderr is not None
    for line in running.stderr:
        if line.startswith("2/3"):
            break
    running.send_signal(signal.SIGINT)
    out, err = running.communicate(timeout=60)
    assert running.returncode == 130 and "goes on from here" in err, out + err
    for path in class_of_three.glob("out/*.json"):
        json.loads(path.read_text())
    assert not list(class_of_three.glob("out/.*"))
    folder_with(class_of_three / "subs/cyd", **{"01_cyd": "#!/bin/sh\nexit 1\n"})
    _, err = start_class(class_of_three).communicate(timeout=120)
    assert err.count("as before") == 2 and "3/3 Cyd" in err


def test_a_full_disk_stops_with_a_reason(class_of_three):
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system: needs root")
    small = class_of_three / "out"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "small", small], check=True)
    try:
        _, err = (running := start_class(class_of_three)).communicate(timeout=120)
        assert running.returncode == 2
        assert "No space left on device" in err.splitlines()[-1]
        assert not list(small.glob(".*"))
    finally:
        subprocess.run(["umount", small], check=True)
        shutil.rmtree(small)
