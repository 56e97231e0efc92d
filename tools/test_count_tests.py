"""count_tests.py on what pytest, GoogleTest and Bazel write."""

import json
import pathlib
import subprocess
import sys

PROGRAM = pathlib.Path("tools/count_tests.py").resolve()

PYTEST = """<testsuites><testsuite>
<testcase name="a" /><testcase name="b"><failure message="no" /></testcase>
<testcase name="c"><skipped message="no cgroup" /></testcase><testcase name="d"><error /></testcase>
</testsuite></testsuites>"""
GOOGLETEST = """<testsuites><testsuite><testcase name="a" status="run" result="completed" />
<testcase name="b" status="notrun" result="suppressed" /></testsuite></testsuites>"""
GREEN = '<testsuites><testsuite><testcase name="a" /></testsuite></testsuites>'
EMPTY = "<testsuites><testsuite /></testsuites>"
ALL_SKIPPED = '<testsuite><testcase name="a"><skipped message="no root" /></testcase></testsuite>'


def count(folder, *reports, arguments=()):
    """Runs the program on the reports of targets //0, //1, ...; returns its status and output."""
    lines = ['{"id": {"started": {}}}']
    for number, report in enumerate(reports):
        path = folder / f"a folder {number}.xml"
        path.write_text(report)
        lines.append(json.dumps({
            "id": {"testResult": {"label": f"//{number}", "run": 1, "shard": 1, "attempt": 1}},
            "testResult": {"testActionOutput": [{"name": "test.log", "uri": "file:///nowhere"},
                                                {"name": "test.xml", "uri": path.as_uri()}]}}))
    events = folder / "events.json"
    events.write_text("\n".join(lines) + "\n")
    done = subprocess.run([sys.executable, "-B", PROGRAM, *arguments, events],
                          stdout=subprocess.PIPE, text=True, check=False)
    return done.returncode, done.stdout.splitlines()


def test_sums_over_targets(tmp_path):
    status, lines = count(tmp_path, PYTEST, GOOGLETEST)
    assert status == 1
    assert lines == ["//0: 1 passed, 2 failed, 1 skipped", "//1: 1 passed, 0 failed, 1 skipped",
                     "  skipped in //0, 1 times: no cgroup", "2 passed, 2 failed, 2 skipped"]


def test_is_content_when_all_pass(tmp_path):
    assert count(tmp_path, GREEN, GREEN, arguments=["--sum"]) == (
        0, ["2 passed, 0 failed, 0 skipped"])


def test_refuses_a_target_that_executed_nothing(tmp_path):
    for hollow in EMPTY, ALL_SKIPPED:
        status, lines = count(tmp_path, GREEN, hollow)
        assert status == 1
        assert "//1: executed no test" in lines


def test_refuses_when_nothing_was_tested(tmp_path):
    assert count(tmp_path) == (1, ["0 passed, 0 failed, 0 skipped"])
