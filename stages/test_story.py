"""The code keeps the shape that makes it a story: short main.cc files, layers that only add."""

from __future__ import annotations

import difflib
import pathlib
import re
import subprocess

import pytest
from conftest import STAGES

MAX_LINES = 65
MAX_CHANGED = 15
MAX_BYTES = 2_500_000
FIRST_WITH_LIBRARIES = "08a"  # libarchive, zstd, libseccomp: a megabyte more
FIRST_WITH_LIBBPF = "10"  # and libelf: 400 kB more
PAIRS = list(zip(STAGES, STAGES[1:]))

# What isolates belongs to a stage, never to common/.
ISOLATING = re.compile(r"\b(CLONE_\w+|mount\(|chroot\(|unshare\(|prctl\(|pivot_root|setns\()")


def main_lines(stage: str) -> list[str]:
    return pathlib.Path("stages", stage, "main.cc").read_text(encoding="utf-8").splitlines()


def sources(folder: str) -> list[pathlib.Path]:
    found = sorted(p for p in pathlib.Path(folder).glob("*")
                   if p.suffix in (".h", ".cc") and not p.stem.endswith("_test"))
    assert found, f"no sources in {folder}"
    return found


def without_comments(text: str) -> str:
    return re.sub(r"//.*", "", text)


@pytest.mark.parametrize("stage", STAGES)
def test_main_is_short(stage):
    lines = [line for line in main_lines(stage) if not line.startswith("#include")]
    assert len(lines) <= MAX_LINES


@pytest.mark.parametrize("before, after", PAIRS)
def test_a_step_changes_few_lines_of_main(before, after):
    """As `git diff --numstat` counts, the head of the file and the includes with the rest."""
    diff = list(difflib.ndiff(main_lines(before), main_lines(after)))
    assert sum(line.startswith("+ ") for line in diff) <= MAX_CHANGED, diff
    assert sum(line.startswith("- ") for line in diff) <= MAX_CHANGED, diff


def test_common_never_isolates():
    for path in sources("common"):
        found = ISOLATING.search(without_comments(path.read_text(encoding="utf-8")))
        assert found is None, f"{path}: {found.group()}"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_includes_no_later_stage(stage):
    for path in sources(f"stages/{stage}"):
        for used in re.findall(r'#include "stages/(\w+)/', path.read_text(encoding="utf-8")):
            assert used <= stage, f"{path} includes {used}"


def test_no_stage_asks_which_stage_it_is():
    for stage in STAGES:
        for path in sources(f"stages/{stage}"):
            text = without_comments(path.read_text(encoding="utf-8"))
            assert not re.search(r"if \(.*\bstage\b", text), path


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.as_shipped
def test_the_program_is_static_and_small(stage):
    program = pathlib.Path("stages", stage, stage)
    headers = subprocess.run(["readelf", "--program-headers", program], check=True,
                             capture_output=True, text=True).stdout
    assert "LOAD" in headers
    assert "INTERP" not in headers, "it needs a loader"
    more = 1_000_000 if stage >= FIRST_WITH_LIBRARIES else 0
    more += 400_000 if stage >= FIRST_WITH_LIBBPF else 0
    assert program.stat().st_size < MAX_BYTES + more
