"""The step from a stage to the next, in the terminal and as a page."""

from __future__ import annotations

import html.parser
import pathlib
import re
import shutil

import pytest

from slides import step

HERE = pathlib.Path(".").resolve()
STAGES = step.stages(HERE)


@pytest.fixture
def root(tmp_path):
    """A copy of the stages, to be changed."""
    shutil.copytree(HERE / "stages", tmp_path / "stages")
    return tmp_path


def edit(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.unlink()  # it may be a link
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(capsys, root, *words):
    status = step.main(words, {"BUILD_WORKSPACE_DIRECTORY": str(root),
                               "BUILD_WORKING_DIRECTORY": str(root)})
    return status, capsys.readouterr()


def test_every_change_of_main_is_explained_and_no_explanation_is_stale():
    assert step.complaints(HERE) == []


def test_a_change_without_a_reason_is_told(root):
    edit(root / "stages/05_userns/main.cc", "    mount_proc();\n",
         "    mount_proc();\n    dance();\n")
    edit(root / "stages/05_userns/main.cc", "    join_new_keyring();\n", "")
    found = step.complaints(root)
    assert ('stages/05_userns/README.md: "What changes in main.cc" does not say why: dance();'
            in found)
    stale = r"stages/05_userns/README.md:\d+: the step changes no line with join_new_keyring\(\);"
    assert any(re.fullmatch(stale, one) for one in found)


@pytest.mark.parametrize("name, stage", [
    ("04", "04_namespaces"), ("4", "04_namespaces"), ("04_namespaces", "04_namespaces"),
    ("08a", "08a_overlayfs"), ("8a", "08a_overlayfs"),
])
def test_names_of_stages(name, stage):
    assert step.find_stage(HERE, name) == stage


@pytest.mark.parametrize("words, complaint", [
    (["99"], "there is no stage 99; there are 01_exec, "), (["01"], "01_exec is the first stage"),
    (["05", "04"], "an earlier stage and a later one"), (["04", "04"], "an earlier stage"),
    (["01", "02", "03"], "an earlier stage"), (["08"], "there is no stage 08"),
])
def test_what_makes_no_step_is_refused(capsys, words, complaint):
    status, said = run(capsys, HERE, *words)
    assert status == 2 and complaint in said.err and said.out == ""


def test_the_terminal_shows_files_functions_lines_and_reasons(capsys):
    status, said = run(capsys, HERE, "04", "05")
    assert status == 0
    for wanted in ("04_namespaces → 05_userns", "  id_map.h, id_map.cc", "      write_id_maps",
                   "  +   IdOptions ids(line);", "  -   require_root();",
                   "    # in the parent, which has kept its rights in the parent namespace"):
        assert wanted in said.out
    assert "\033" not in said.out  # it is no terminal
    assert run(capsys, HERE, "05")[1].out == said.out  # from the one before


@pytest.mark.parametrize("before, after", list(zip(STAGES, STAGES[1:])))
def test_all_lines_of_the_change_are_shown(before, after):
    shown = step.step(HERE, before, after)
    for number, stage in enumerate((before, after)):
        text = (HERE / "stages" / stage / "main.cc").read_text(encoding="utf-8")
        lines = [line for hunk in shown.hunks for line in (hunk.before, hunk.after)[number]]
        assert lines == step.story(text)
    assert all(about for part in shown.parts for _, about in part.offers)
    assert not any("\\|" in reason.why for hunk in shown.hunks for reason in hunk.reasons)
    coloured = step.terminal_text(shown, colour=True)
    assert "\033[32m" in coloured
    assert re.sub(r"\033\[[\d;]*m", "", coloured) == step.terminal_text(shown, colour=False)


def test_a_longer_way_shows_all_layers_between():
    shown = step.step(HERE, "04_namespaces", "06_pivot_root")
    files = [file for part in shown.parts for file in part.files]
    assert "id_map.h" in files and "mounts.h" in files and "namespaces.h" not in files


@pytest.mark.parametrize("terminal, environment, wanted", [
    (True, {"TERM": "xterm"}, True), (True, {"TERM": "xterm", "NO_COLOR": "1"}, False),
    (True, {"TERM": "dumb"}, False), (False, {"TERM": "xterm"}, False),
])
def test_colour_is_for_terminals_and_for_who_wants_it(monkeypatch, terminal, environment, wanted):
    class Stream:
        def isatty(self):
            return terminal
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert step.wants_colour(Stream()) == wanted


class Balance(html.parser.HTMLParser):
    """Which elements are open, and what would be fetched."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        if tag != "meta":
            self.open.append(tag)
        self.fetched += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_is_whole_and_fetches_nothing(capsys, root):
    status, _ = run(capsys, root, "08a", "08b", "--html", "step.html")
    written = (root / "step.html").read_text(encoding="utf-8")
    parser = Balance()
    parser.feed(written)
    assert status == 0 and parser.open == [] and parser.fetched == [] and "url(" not in written
    text = "".join(parser.text)
    for wanted in ("const SeccompFilter filter(seccomp);", "the last call except execve(2)",
                   "drop_privileges"):
        assert wanted in text
    assert "prefers-color-scheme: dark" in written
