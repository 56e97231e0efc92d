"""The scorecard: each tool's verdicts come from what was seen, and are drawn as they are."""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest

from harness.scorecard import pages, scorecard
from harness.agent_client import HOST
from harness.properties.table import BY_NAME, PROPERTIES
from harness.scorecard.scorecard import ADAPTERS, FOLLOWS, REMARKS, RUNTIME, TOOLS

FEW = ("own_pid_namespace", "old_root_is_gone", "own_ipc_namespace", "init_is_pid_1",
       "volume_is_shown")


@pytest.fixture(name="measured", scope="module")
def measured_here(tools):
    if os.geteuid() != 0:
        pytest.skip("what the host's mounts do inside is seen by root: needs root")
    for tool in ("bwrap", "unshare"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool}")
    return scorecard.measure([HOST], ["unshare", "bwrap", "08c"], [BY_NAME[name] for name in FEW],
                             tools, 5.0)


def verdicts(told, column):
    return [row["cells"][column]["verdict"] for row in told["rows"]]


def test_tools_are_told_apart(measured):
    assert verdicts(measured, "unshare") == ["holds", "violated", "violated", "n/a", "n/a"]
    assert verdicts(measured, "bwrap") == ["holds"] * len(FEW)
    assert verdicts(measured, "08c_network") == ["holds"] * len(FEW)


def test_a_verdict_says_why(measured):
    cells = [row["cells"]["unshare"] for row in measured["rows"]]
    assert cells[3]["got"] == "it has no --init" and cells[4]["got"] == "it has no --volume"
    assert "mount namespace still has a mount of the host's" in cells[1]["got"]
    assert cells[2]["remark"].startswith("--ipc")


def test_a_tool_that_does_not_start_has_violated_nothing(tools, tmp_path, monkeypatch):
    broken = tmp_path / "broken.sh"
    broken.write_text("#!/bin/sh\ncase $1 in --version) echo 1 ;; --lacks) ;; *) exit 1 ;; esac\n")
    broken.chmod(0o755)
    monkeypatch.setattr(scorecard, "ADAPTERS", tmp_path)
    told = scorecard.measure([HOST], ["broken"], [BY_NAME["own_pid_namespace"]], tools, 5.0)
    assert verdicts(told, "broken") == ["undecided"] and told["columns"][0]["version"] == "1"


def test_a_tool_that_is_not_there_has_no_column(tools, tmp_path, monkeypatch, capfd):
    (tmp_path / "absent.sh").write_text("#!/bin/sh\nexec no-such-tool --version\n")
    (tmp_path / "absent.sh").chmod(0o755)
    monkeypatch.setattr(scorecard, "ADAPTERS", tmp_path)
    assert scorecard.measure([HOST], ["absent"], [], tools, 5.0)["columns"] == []
    assert "there is no absent in host" in capfd.readouterr().err


def test_what_is_known_is_not_measured_again(tools):
    rows = [BY_NAME["own_pid_namespace"], BY_NAME["own_ipc_namespace"]]
    told = scorecard.measure([HOST], ["unshare"], rows, tools, 5.0,
                             {("own_pid_namespace", "unshare"), ("own_ipc_namespace", "bwrap")})
    assert scorecard.cells_of(told) == {("own_ipc_namespace", "unshare")}
    with pytest.raises(ValueError, match="own_pid_namespace has not been measured for unshare\n"):
        scorecard.check_that_it_is_complete(told)


@pytest.mark.parametrize("row, got, others, why", [
    ("sys_is_read_only", "nothing is mounted at /sys", {}, "it mounts no /sys"),
    ("links_are_own", "", {"sys_is_read_only": "n/a"}, "it mounts no /sys"),
    ("no_filter_no_start", "", {"filter_is_installed": "violated"}, "it installs no filter"),
])
def test_a_row_that_means_nothing_for_a_program_is_left_out(row, got, others, why):
    cells = {row: {"verdict": "violated", "got": got},
             **{other: {"verdict": verdict, "got": ""} for other, verdict in others.items()}}
    table = [{"name": name, "cells": {"x": cell}} for name, cell in cells.items()]
    scorecard.leave_out([*table, {"name": "not_measured", "cells": {}}], "x")
    assert table[0]["cells"]["x"] == {"verdict": "n/a", "got": why}


@pytest.mark.parametrize("tool", [*TOOLS, RUNTIME])
def test_an_adapter_refuses_what_its_tool_lacks(tool):
    adapter = ADAPTERS / f"{tool}.sh"
    lacks = subprocess.run([adapter, "--lacks"], stdout=subprocess.PIPE, text=True, check=True)
    for option in lacks.stdout.splitlines():
        words = [*option.split(), "value"][:2]
        done = subprocess.run([adapter, "--rootfs", "/", *words, "--", "true"], check=False,
                              stderr=subprocess.PIPE, text=True)
        assert (done.returncode, done.stderr) == (125, f"{tool}.sh: {tool} has no {option}\n")


def test_what_is_said_of_rows_is_said_of_rows_that_there_are():
    for row in {name for _, name in REMARKS} | set(FOLLOWS) | {row for row, _ in FOLLOWS.values()}:
        assert row in BY_NAME
    assert set(pages.CONVENTIONS) <= set(BY_NAME)
    assert {row.since for row in PROPERTIES} <= set(pages.LAYERS)


# --- What is drawn --------------------------------------------------------------------------------

MEASURED = pathlib.Path("slides/measured/scorecard.json")
PICTURE = pathlib.Path("slides/pictures/scorecard.svg")


@pytest.fixture(name="told")
def shown_on_the_slides():
    return json.loads(MEASURED.read_text(encoding="utf-8"))


def test_the_slides_picture_is_drawn_from_what_was_measured(told):
    """To measure again: bazel run //harness:scorecard -- --json slides/measured/scorecard.json
    --svg slides/pictures/scorecard.svg; with --from JSON only to draw it."""
    assert PICTURE.read_text(encoding="utf-8") == pages.picture(told)


def test_it_has_all_tools_and_rows(told):
    assert [column["name"].partition("_")[0] for column in told["columns"]] == [
        *(tool for tool in TOOLS if tool != "podman"), *scorecard.OURS, "11"]
    assert {row["name"] for row in told["rows"]} == {
        row.name for row in PROPERTIES if row.is_promised_at(scorecard.ASKED_AS)}
    scorecard.check_that_it_is_complete(told)


def test_the_picture_parses_and_its_numbers_add_up(told):
    texts = [text.text for text in ElementTree.fromstring(pages.picture(told)).iter(
        "{http://www.w3.org/2000/svg}text")]
    shares = [text.split("/") for text in texts if re.fullmatch(r"\d+/\d+", text or "")]
    cells = [cell["verdict"] for row in told["rows"] for cell in row["cells"].values()]
    assert sum(int(good) for good, _ in shares) == cells.count("holds")
    assert sum(int(of) for _, of in shares) == cells.count("holds") + cells.count("violated")


def test_one_column_is_measured_again():
    def told(column, verdict, rows=("a", "b")):
        return {"place": "x", "columns": [{"name": column, "version": verdict}],
                "rows": [{"name": row, "cells": {column: {"verdict": verdict}}} for row in rows]}
    before = scorecard.renewed(told("old", "holds"), told("kept", "holds"))
    after = scorecard.renewed(before, told("old", "violated", ["b"]))
    assert [column["version"] for column in after["columns"]] == ["violated", "holds"]
    assert [row["cells"]["old"]["verdict"] for row in after["rows"]] == ["holds", "violated"]
    assert all(row["cells"]["kept"]["verdict"] == "holds" for row in after["rows"])
    more = scorecard.renewed(before, told("old", "violated", ["c"]))
    assert [row["name"] for row in more["rows"]] == ["a", "b", "c"]


def test_the_page_needs_nothing_else_and_tells_every_verdict(told):
    page = pages.page(told)
    assert not re.findall(r"<script|<link|https?://[^<]*\.(?:js|css)", page)
    for row in told["rows"]:
        assert f">{row['name']}</th>" in page
