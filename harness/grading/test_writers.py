"""The files for other programs: as in golden/, and valid, whatever the names are.

After a change that is meant: WRITE_GOLDEN=yes python3 -m pytest harness/grading/test_writers.py
"""

from __future__ import annotations

import base64
import csv
import datetime
import html.parser
import io
import json
import os
import pathlib
import re
from typing import List, Tuple
from xml.etree import ElementTree

import pytest

from harness.grading import html_report, writers
from harness.properties.model import PROMISE, Case, Grade, Outcome, Property, Result, hints
from harness.properties.verdict import ROOT, USER, Seen

GOLDEN = pathlib.Path(__file__).resolve().parents[1] / "golden"
NASTY = "a\x00b\x1b[31m ]]> <script>alert(1)</script> & \"quoted\" \ud7ff\ue000"
RUNNER = {"CLASSROOM": "systems", "ASSIGNMENT": "stage-05", "SUBMISSION_TAG": "submit/1-abc",
          "COMMIT_URL": "https://git.test/c/1", "RELEASE_URL": "https://git.test/r/1"}
NOW = datetime.datetime(2026, 3, 1, 12, 30, tzinfo=datetime.timezone(datetime.timedelta(hours=2)))


def result(name: str, outcome: Outcome, got: str, why: str = "", identity: str = ROOT,
           since: str = "05", points: int = 1) -> Result:
    row = Property(name, since, "inside", lambda look: Seen(True, ""), holds=f"{name} holds",
                   violated=f"{name} is violated", lesson=f"why {name} matters", man="7 user",
                   mistake="it was forgotten", command="{stage} -- id", points=points)
    return Result(Case(row, "05", "/x/mine", "mine", identity, PROMISE), outcome, row.holds, got,
                  why, "mine -- id")


FAILED = Grade("=Ada <Lovelace>", "05", [
    result("first", Outcome.PASSED, "as it must", points=2),
    result("second", Outcome.FAILED, NASTY, "not so: second is violated", since="04"),
    result("third", Outcome.FAILED, NASTY, "not so: second is violated", since="04"),
    result("first", Outcome.ERROR, "neither", "the probe broke", identity=USER),
    result("fourth", Outcome.SKIPPED, "", "this host has no root"),
], seconds=1.25)
PASSED = Grade("Grace Hopper", "05", [result("first", Outcome.PASSED, "as it must", points=2)])
BROKEN = Grade("Linus & Ken", "05", FAILED.results, "the build failed: status 2", NASTY, 0.5)
UNTESTED = Grade("Barbara Liskov", "05", [
    result("first", Outcome.SKIPPED, "", "this container does not allow a user namespace"),
    result("second", Outcome.SKIPPED, "", "this container does not allow a user namespace")])

WRITTEN = {
    "junit.xml": writers.junit([FAILED, PASSED, BROKEN]),
    "gradescope.json": writers.gradescope(FAILED),
    "gradescope_broken.json": writers.gradescope(BROKEN),
    "gradescope_untested.json": writers.gradescope(UNTESTED),
    "github_classroom.txt": writers.github_classroom(FAILED),
    "github_classroom_broken.txt": writers.github_classroom(BROKEN),
    "classroom50.json": writers.classroom50(FAILED, RUNNER, NOW),
    "classroom50_broken.json": writers.classroom50(BROKEN, RUNNER, NOW),
    "grades.csv": writers.csv_table([FAILED, PASSED, BROKEN]),
    "submission.html": html_report.submission(FAILED),
    "submission_broken.html": html_report.submission(BROKEN),
    "class.html": html_report.overview("Systems & more", [FAILED, PASSED, BROKEN]),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_it_is_what_it_was(name: str) -> None:
    if os.environ.get("WRITE_GOLDEN"):
        (GOLDEN / name).write_text(WRITTEN[name], encoding="utf-8")
    assert WRITTEN[name] == (GOLDEN / name).read_text(encoding="utf-8")


def test_a_junit_file_parses_and_its_counts_are_true():
    suites = list(ElementTree.fromstring(WRITTEN["junit.xml"].encode()))
    assert [suite.get("name") for suite in suites] == ["=Ada <Lovelace>", "Grace Hopper",
                                                       "Linus & Ken"]
    for suite in suites:
        assert {tag: int(suite.get(count)) for tag, count in (
            ("testcase", "tests"), ("testcase/failure", "failures"), ("testcase/error", "errors"),
            ("testcase/skipped", "skipped"))} == {
            tag: len(suite.findall(tag)) for tag in ("testcase", "testcase/failure",
                                                     "testcase/error", "testcase/skipped")}
        assert len({case.get("name") for case in suite}) == len(suite)


GRADESCOPES = ["gradescope.json", "gradescope_broken.json", "gradescope_untested.json"]


@pytest.mark.parametrize("name", GRADESCOPES)
def test_gradescopes_rules_are_kept(name):
    check_gradescopes_rules(json.loads(WRITTEN[name]))


def check_gradescopes_rules(told):
    assert isinstance(told["score"], int) and isinstance(told["execution_time"], int)
    assert told["visibility"] in ("hidden", "after_due_date", "after_published", "visible")
    for test in told["tests"]:
        assert ("score" in test) == ("max_score" in test) == ("status" in test)
        if "score" in test:
            assert isinstance(test["score"], int) and 0 <= test["score"] <= test["max_score"]
            assert test["status"] in ("passed", "failed")
        assert test["output_format"] in ("text", "html", "simple_format", "md", "ansi")
        assert test["visibility"] == "visible"
    if told["tests"]:
        assert told["score"] == sum(test.get("score", 0) for test in told["tests"])


def test_who_cannot_be_tested_loses_nothing_at_gradescope():
    told = json.loads(WRITTEN["gradescope_untested.json"])
    scored = [test for test in told["tests"] if "score" in test]
    assert told["score"] == sum(test["max_score"] for test in scored) > 0
    assert "2 properties, 2 points, could not be tested here" in told["output"]


@pytest.mark.parametrize("name", ["github_classroom.txt", "github_classroom_broken.txt"])
def test_github_classrooms_rules_are_kept(name):
    assert WRITTEN[name].count("\n") == 1
    told = json.loads(base64.b64decode(WRITTEN[name], validate=False))
    assert set(told) == {"version", "status", "max_score", "tests"} and told["version"] == 1
    assert told["status"] in ("pass", "fail", "error") and isinstance(told["max_score"], int)
    assert all(test["status"] in ("pass", "fail", "error") for test in told["tests"])
    assert sum(test["score"] for test in told["tests"]) <= told["max_score"]


@pytest.mark.parametrize("name", ["classroom50.json", "classroom50_broken.json"])
def test_classroom_50s_rules_are_kept(name):
    told = json.loads(WRITTEN[name])
    assert set(told) == {"schema", "classroom", "assignment", "submission", "commit", "release",
                         "review", "datetime", "score", "max-score", "tests"}
    assert told["schema"] == "classroom50/result/v1"
    assert told["datetime"] == "2026-03-01T10:30:00Z"
    for score in ("score", "max-score"):
        assert isinstance(told[score], int) and told[score] >= 0
        assert sum(test[score] for test in told["tests"]) == told[score]


def test_classroom_50_is_not_written_outside_of_its_runner():
    with pytest.raises(ValueError, match="ASSIGNMENT, SUBMISSION_TAG"):
        writers.classroom50(PASSED, {"CLASSROOM": "x"}, NOW)


def test_a_csv_file_has_a_line_for_each_and_no_formula():
    lines = list(csv.DictReader(io.StringIO(WRITTEN["grades.csv"])))
    assert [line["name"] for line in lines] == ["'=Ada <Lovelace>", "Grace Hopper", "Linus & Ken"]
    assert [(line["score"], line["max_score"]) for line in lines] == [("2", "6"), ("2", "2"),
                                                                      ("0", "6")]
    assert lines[0]["first_failure"] == "second" and lines[2]["problem"]


class Page(html.parser.HTMLParser):
    """Whether the tags of a page are closed in order, and what it would load."""

    ALONE = ("meta", "circle")

    def __init__(self) -> None:
        super().__init__()
        self.open: List[str] = []
        self.loads: List[Tuple[str, str]] = []
        self.tags: List[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [(name, value) for name, value in attrs if name in ("src", "href")]
        if tag not in self.ALONE:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.ALONE:
            assert self.open.pop() == tag, self.getpos()


@pytest.mark.parametrize("name", [name for name in WRITTEN if name.endswith(".html")])
def test_a_page_is_whole_and_loads_nothing(name):
    seen = Page()
    seen.feed(WRITTEN[name])
    assert not seen.open and not seen.loads and "script" not in seen.tags
    assert not re.search(r"url\(|@import", WRITTEN[name])


def test_failures_of_one_cause_are_told_once():
    groups = html_report.failures(FAILED.results)
    assert [[one.case.property.name for one in group] for group in groups] == [
        ["second", "third"], ["first"]]


@pytest.mark.parametrize("level, names", [(0, []), (1, ["look"]), (2, ["look", "concept"]),
                                          (3, ["look", "concept", "read"])])
def test_each_level_of_hints_says_more(level, names):
    assert [name for name, _ in hints(FAILED.results[1], level)] == names
