"""INSTRUCTOR.md says what the deck, pages, rows and mutants say; the preflight is right."""

from __future__ import annotations

import pathlib
import re

import pytest

from harness.learning import instructor, preflight
from harness.learning.doctor import Operation, examine_all
from harness.learning.task import rows_of
from harness.learning.tasks.table import TASKS
from harness.mutants import table
from slides import deck

ROOT = pathlib.Path(".")
TEXT = instructor.page_text(ROOT)


def test_the_page_is_current():
    there = pathlib.Path(instructor.PAGE).read_text(encoding="utf-8")
    assert there == TEXT, "write it again: bazel run //harness:instructor"


def test_each_mutant_and_each_row_is_on_it():
    for mutant in table.load():
        assert instructor.on_one_line(mutant.why) in TEXT, mutant.id
    for task in TASKS.values():
        part = TEXT.split(f"\n### {task.stage}_")[1].split("\n### ")[0]
        assert [row.name for row in rows_of(task.stage) if f"`{row.name}`" not in part] == []


def test_each_exercise_has_its_answer_on_it_and_no_more():
    for page in ROOT.glob("stages/*/README.md"):
        if page.parent.name == "00_naive":  # the map has no exercises
            continue
        text = page.read_text(encoding="utf-8")
        exercises = text.split("## Exercises\n")[1].split("\n## ")[0]
        told = list(instructor.answers(text))
        assert len(told) == len(re.findall(r"^\d+\. ", exercises, re.MULTILINE)) > 0, page
        for one in told:
            question = instructor.on_one_line(one.partition(". ")[2].partition("\n\n")[0])
            assert question in instructor.on_one_line(exercises), page


@pytest.mark.parametrize("track", deck.TRACKS)
def test_a_plan_shows_all_slides_of_its_track_and_ends_in_time(track):
    slides = deck.slides(instructor.deck_of(ROOT))
    lines = [line for line in instructor.plan(slides, track) if re.match(r"\| \d", line)]
    shown = set()
    for spans in re.findall(r", slides? ([\d, to]+) \|", "\n".join(lines)):
        for span in spans.split(", "):
            first, _, last = span.partition(" to ")
            shown.update(range(int(first), int(last or first) + 1))
    assert shown == {slide.number for slide in slides if slide.is_in(track)}
    hours, minutes = re.match(r"\| (\d+):(\d+)", lines[-1]).groups()
    last = float(lines[-1].split("|")[3])
    assert int(hours) * 60 + int(minutes) + last < track
    assert "**exercise**" in "".join(lines), "each track has something to type"


@pytest.mark.parametrize("block,needs", [
    ("host:~$ 05_userns id\nuid=0", (False, False)),
    ("host:~# 04_namespaces id", (True, False)),
    ("host:~$ 05_userns sh\n05_userns:/# sleep 9 &\nhost:~$ ps", (False, True)),
    ("host:~$ 05_userns sh\n05_userns:/# exit\nhost:~$ ps", (False, False)),
    ("host:~# 08c_network sh\ncont:/# httpd\nhost:~$ curl localhost", (True, True)),
    ("no prompt", (False, False)),
])
def test_what_a_demonstration_needs(block, needs):
    assert instructor.needs_of(block) == needs


def test_what_a_class_lacks_is_told(monkeypatch, tmp_path, capsys):
    works = Operation("packages", lambda: "installed", lambda _: "")
    monkeypatch.setattr(preflight.doctor, "OPERATIONS", (works,))
    monkeypatch.setattr(preflight, "BUILT", tmp_path)
    monkeypatch.setattr(preflight.image, "cache_directory", lambda: tmp_path)
    assert preflight.main([]) == 1
    told = capsys.readouterr().out
    assert "not ready for a class: the stages, the checks, the slides, the VM's disk" in told
    assert "try     bazel run //harness/vm -- true, with the network" in told
    for path in ("stages/{0}/{0}".format(main.parent.name) for main in preflight.STAGES):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).touch()
    assert examine_all(preflight.OPERATIONS)[0].works


def test_what_concerns_single_stages_hinders_no_class(monkeypatch, capsys):
    def fails() -> str:
        raise preflight.Fails("no")
    monkeypatch.setattr(preflight, "OPERATIONS", ())
    monkeypatch.setattr(preflight.doctor, "OPERATIONS",
                        (Operation("a bridge", fails, lambda _: "mend", lost="a bridge"),))
    assert preflight.main([]) == 0
    assert capsys.readouterr().out.endswith("ready for a class\n")
