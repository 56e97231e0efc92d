"""Grades for other programs: JUnit XML, Gradescope, GitHub Classroom, Classroom 50, CSV."""

from __future__ import annotations

import base64
import csv
import datetime
import io
import json
import re
from typing import Any, Callable, Dict, Mapping, Sequence
from xml.etree import ElementTree

from harness.properties.model import Grade, Outcome, Result, hints

# XML 1.0 has no way to write these: https://www.w3.org/TR/xml/#charsets
NOT_IN_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

ALL_HINTS = 3


def explain(result: Result, level: int) -> str:
    """What was expected and seen, and the hints."""
    if result.outcome is Outcome.PASSED:
        return result.got
    if result.outcome is Outcome.SKIPPED:
        return f"skipped: {result.why}"
    lines = [f"{result.outcome.value}: {result.why}"]
    if not result.never_ran:
        lines += [f"expected: {result.expected}", f"got: {result.got}"]
    return "\n".join(lines + [f"{name}: {text}" for name, text in hints(result, level)])


def name_of(result: Result) -> str:
    return result.case.property.name + (" (as an ordinary user)"
                                        if result.case.identity == "user" else "")


# --- JUnit: https://github.com/testmoapp/junitxml, as read by CI servers --------------------------


def for_others(outcome: Outcome) -> Outcome:
    """For formats that have no outcome for an option that a program lacks: it earns nothing."""
    return Outcome.FAILED if outcome is Outcome.LACKING else outcome


def junit(grades: Sequence[Grade], level: int = ALL_HINTS) -> str:
    """A test suite for each submission. One that could not be graded has one test, an error."""
    root = ElementTree.Element("testsuites")
    for grade in grades:
        suite = ElementTree.SubElement(root, "testsuite", name=printable(grade.name),
                                       time=f"{grade.seconds:.3f}")
        results = [] if grade.problem else grade.results
        outcomes = [for_others(result.outcome) for result in results]
        suite.set("tests", str(len(results) or 1))
        suite.set("failures", str(outcomes.count(Outcome.FAILED)))
        suite.set("errors", str(outcomes.count(Outcome.ERROR) + bool(grade.problem)))
        suite.set("skipped", str(outcomes.count(Outcome.SKIPPED)))
        for result in results:
            test = ElementTree.SubElement(suite, "testcase", name=result.case.id,
                                          classname=f"stage_{grade.stage}")
            tag = {Outcome.FAILED: "failure", Outcome.ERROR: "error",
                   Outcome.SKIPPED: "skipped"}.get(for_others(result.outcome))
            if tag:
                told = ElementTree.SubElement(test, tag, message=printable(result.why))
                told.text = printable(explain(result, level))
        if grade.problem:
            test = ElementTree.SubElement(suite, "testcase", name="build",
                                          classname=f"stage_{grade.stage}")
            told = ElementTree.SubElement(test, "error", message=printable(grade.problem))
            told.text = printable(grade.log)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def printable(text: str) -> str:
    return NOT_IN_XML.sub("\N{REPLACEMENT CHARACTER}", text)


# --- Gradescope: https://gradescope-autograders.readthedocs.io/en/latest/specs/ -------------------


def gradescope(grade: Grade, level: int = ALL_HINTS) -> str:
    """results.json. Scores are integers. What cannot be tested there has none, neither gained nor
    lost, and says why; a submission of which nothing can be is given its build."""
    results = [] if grade.problem else grade.results
    tests = [gradescope_test(number, result, level) for number, result in enumerate(results, 1)]
    untested = [result for result in results if result.outcome is Outcome.SKIPPED]
    score, output = grade.score, summary(grade)
    if grade.problem:
        output += f"\n\n{grade.log}"
    if untested:
        lost = sum(result.case.property.points for result in untested)
        reasons = "\n".join(sorted({f"- {result.why}" for result in untested}))
        output += (f"\n\n{len(untested)} properties, {lost} points, could not be tested here, which"
                   f" is not the program's fault:\n{reasons}")
    if results and len(untested) == len(results):
        score = 1
        tests.insert(0, {"name": "it can be built", "number": "0", "score": 1, "max_score": 1,
                         "status": "passed", "visibility": "visible", "output_format": "text",
                         "output": "There is a program for this processor."})
    return as_json({
        "score": score, "execution_time": round(grade.seconds), "output": output,
        "output_format": "text", "visibility": "visible", "stdout_visibility": "hidden",
        "tests": tests})


def gradescope_test(number: int, result: Result, level: int) -> Dict[str, Any]:
    told: Dict[str, Any] = {"name": name_of(result), "number": str(number)}
    if result.outcome is not Outcome.SKIPPED:
        told.update(score=result.points, max_score=result.case.property.points,
                    status="passed" if result.outcome is Outcome.PASSED else "failed")
    told.update(visibility="visible", output=explain(result, level), output_format="text",
                tags=[f"since stage {result.case.property.since}"])
    return told


def summary(grade: Grade) -> str:
    if grade.problem:
        return f"stage {grade.stage}: not graded: {grade.problem}"
    return f"stage {grade.stage}: {grade.score} of {grade.max_score} points; {grade.counts()}"


# --- GitHub Classroom: what its autograding-grading-reporter reads from RUNNER_RESULTS ------------


def github_classroom(grade: Grade, level: int = ALL_HINTS) -> str:
    """The result of a runner: JSON in base64, on one line."""
    status = {"passed": "pass", "failed": "fail", "error": "error"}[grade.status]
    marks = {Outcome.PASSED: "pass", Outcome.FAILED: "fail", Outcome.SKIPPED: "fail",
             Outcome.LACKING: "fail"}
    tests = [{
        "name": name_of(result), "status": marks.get(result.outcome, "error"),
        "score": result.points, "message": explain(result, level), "test_code": result.command,
        "filename": "", "line_no": 0, "execution_time": "",
    } for result in grade.results]
    if grade.problem:
        tests = [{"name": "build", "status": "error", "score": 0, "test_code": "", "filename": "",
                  "message": f"{grade.problem}\n{grade.log}", "line_no": 0, "execution_time": ""}]
    result = {"version": 1, "status": status, "max_score": grade.max_score, "tests": tests}
    return base64.b64encode(json.dumps(result).encode()).decode() + "\n"


# --- Classroom 50: https://github.com/foundation50/classroom50/wiki/Advanced-Autograding ----------

CLASSROOM50 = {"classroom": "CLASSROOM", "assignment": "ASSIGNMENT", "submission": "SUBMISSION_TAG",
               "commit": "COMMIT_URL", "release": "RELEASE_URL"}


def classroom50(grade: Grade, environment: Mapping[str, str], now: datetime.datetime) -> str:
    """result.json. Where it is from, the runner says in the environment."""
    missing = [name for name in CLASSROOM50.values() if not environment.get(name)]
    if missing:
        raise ValueError(f"Classroom 50's runner sets {', '.join(missing)}, which are not set")
    tests = [{"test-name": name_of(result), "passed": result.outcome is Outcome.PASSED,
              "score": result.points, "max-score": result.case.property.points}
             for result in grade.results]
    if grade.problem:
        tests = [{"test-name": f"build: {grade.problem}"[:200], "passed": False, "score": 0,
                  "max-score": grade.max_score}]
    told = {"schema": "classroom50/result/v1",
            **{field: environment[name] for field, name in CLASSROOM50.items()},
            "review": environment.get("REVIEW_URL") or environment["COMMIT_URL"],
            "datetime": now.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "score": grade.score, "max-score": grade.max_score, "tests": tests}
    return as_json(told)


# --- CSV ------------------------------------------------------------------------------------------

COLUMNS = ("name", "stage", "score", "max_score", "status", "passed", "failed", "error", "skipped",
           "first_failure", "problem", "seconds")


def csv_table(grades: Sequence[Grade]) -> str:
    """One line per submission. No cell starts a formula in a spreadsheet, whatever the names."""
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(COLUMNS)
    for grade in grades:
        outcomes = [for_others(result.outcome)
                    for result in ([] if grade.problem else grade.results)]
        bad = [name_of(result) for result in grade.results if result.is_bad]
        cells = [grade.name, grade.stage, grade.score, grade.max_score, grade.status,
                 *(outcomes.count(outcome) for outcome in Outcome
                   if outcome is for_others(outcome)),
                 bad[0] if bad and not grade.problem else "", grade.problem,
                 f"{grade.seconds:.1f}"]
        writer.writerow([harmless(cell) for cell in cells])
    return table.getvalue()


def harmless(cell: Any) -> Any:
    """What begins with =, +, - or @ is a formula for a spreadsheet, see OWASP on CSV injection."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in tuple("=+-@\t\r") and cell else cell


def as_json(told: Dict[str, Any]) -> str:
    return json.dumps(told, indent=2) + "\n"


FORMATS: Dict[str, Callable[[Grade, int], str]] = {
    "junit": lambda grade, level: junit([grade], level),
    "gradescope": gradescope,
    "github-classroom": github_classroom,
    "csv": lambda grade, level: csv_table([grade]),
}
