"""A learner's folder: it builds, does not hold the solution, and can become it."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
from typing import Iterator

import pytest

from harness.learning import start
from harness.grading.grader import Grader, Program, cases_for
from harness.properties.model import PROMISE, Outcome
from harness.properties.table import PROPERTIES
from harness.properties.verdict import STAGES, stage_number

QUICKLY = ["make", "--quiet", f"-j{os.cpu_count()}",
           "CXXFLAGS=-std=c++20 -O0 -I. -MMD"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    made = tmp_path_factory.mktemp("learner") / "stage05"
    start.make_folder("05", made)
    yield made


@pytest.mark.parametrize("stage", STAGES[stage_number(start.FIRST):])
def test_all_is_in_it_but_the_solution(stage, tmp_path):
    try:
        start.folder_of(stage)
    except ValueError:
        pytest.skip(f"stage {stage} is not there yet")
    made = tmp_path / "made"
    start.make_folder(stage, made)
    own = made / "stages" / start.folder_of(stage).name
    assert [path.name for path in own.iterdir()] == ["main.cc"]
    before = start.folder_of(start.stage_before(stage)) / "main.cc"
    assert (own / "main.cc").read_text() == before.read_text()
    stages = sorted(path.name.split("_")[0] for path in (made / "stages").iterdir())
    assert stages == list(STAGES[1:stage_number(stage) + 1])
    written = [path for path in made.rglob("*") if path.suffix in (".h", ".cc")]
    programs = [path for path in written if "\nint main(" in path.read_text()]
    assert programs == [own / "main.cc"]
    included = {name for path in written
                for name in re.findall(r'^#include "(.*)"', path.read_text(), re.MULTILINE)}
    assert [name for name in included if not (made / name).exists()] == []
    assert all(row.name in (made / "TASK.md").read_text() for row in start.rows_of(stage))


def test_a_folder_that_is_in_use_is_left_alone(tmp_path):
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(ValueError, match="not an empty folder"):
        start.make_folder("05", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


def names_that_hold(tools, program: pathlib.Path) -> set:
    rows = [row for row in PROPERTIES if row.since == "05"]
    results = Grader(tools).grade(cases_for(Program.of(str(program), "05"), rows, PROMISE))
    return {result.case.property.name for result in results if result.outcome is Outcome.PASSED}


def test_it_builds_and_becomes_the_stage_with_its_layer(folder, tools):
    subprocess.run(QUICKLY, cwd=folder, check=True, timeout=600)
    program = folder / "stages/05_userns/05_userns"
    assert "own_user_namespace" not in names_that_hold(tools, program)
    solution = start.folder_of("05")
    for path in [*start.sources(solution), solution / "main.cc"]:
        shutil.copyfile(path, folder / "stages/05_userns" / path.name)
    subprocess.run(QUICKLY, cwd=folder, check=True, timeout=600)
    assert "own_user_namespace" in names_that_hold(tools, program)


def test_watching_checks_again_when_a_source_is_saved(tmp_path):
    check = tmp_path / "check"
    check.write_text('#!/bin/sh\necho "checked with $*"\n')
    check.chmod(0o755)
    source = tmp_path / "main.cc"
    source.write_text("")
    with subprocess.Popen(
            [sys.executable, "-B", "-c", "from harness.learning import start; import sys;"
             "sys.exit(start.main(sys.argv[1:]))", "05", str(tmp_path), "--watch", "--hints", "2"],
            stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        seen = 0
        for line in watching.stdout:
            if line.startswith("checked with --hints 2"):
                seen += 1
            if line.startswith("waiting"):
                if seen == 2:
                    break
                source.write_text("// saved")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(5) == 130
