"""The lessons are made of all that the stages' pages show, in its order, and of nothing else."""

import json
import pathlib

import pytest

from lab import lessons
from slides import transcript

PAGES = sorted(pathlib.Path("stages").glob("0[1-8]*/README.md"))
SEEN = json.loads(pathlib.Path("lab/seen.json").read_text(encoding="utf-8"))


def steps(lesson):
    return [step for part in lesson["parts"] for step in part.get("steps", [])]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_a_lesson_has_the_commands_of_its_page(page):
    text = page.read_text(encoding="utf-8")
    made = steps(lessons.lesson(page, {}))
    assert len(made) >= 5
    for step in made:
        assert step["prompt"] + step["command"][0] in text
        assert step["who"] in ("user", "user2", "root", "root2")
    assert len({step["id"] for step in made}) == len(made)


def test_what_is_typed_beside_an_open_container_goes_to_another_terminal():
    lines = ["host:~$ 05_userns sh", "05_userns:/# sleep 9 &", "host:~$ ps", "host:~# ps",
             "05_userns:/# exit", "host:~$ id"]
    made = list(lessons.steps_of("x", lines, [], False, {}))
    assert [step["who"] for step in made] == ["user", "user", "user2", "root", "user", "user"]
    lines = ["host:~# 04_namespaces sh", "04_namespaces:/# hostname box", "host:~# hostname",
             "host:~$ id", "04_namespaces:/# exit", "host:~# id"]
    made = list(lessons.steps_of("x", lines, [], False, {}))
    assert [step["who"] for step in made] == ["root", "root", "root2", "user", "root", "root"]


def test_a_step_whose_program_the_machine_lacks_says_so():
    [step] = lessons.steps_of("x", ["host:~$ perl -e 1"], [], False, {})
    assert "perl" in step["missing"]
    [step] = lessons.steps_of("x", ["host:~$ cat superperl.txt"], [], False, {})
    assert "missing" not in step


def test_another_command_stands_for_one_that_the_machine_lacks():
    [step] = lessons.steps_of("x", ["host:~$ perl -e 1"], [], False, {"x.1": {"command": ["true"]}})
    assert step["command"] == ["true"] and "missing" not in step


def test_what_is_known_of_a_step_belongs_to_one():
    known = {step["id"] for page in PAGES for step in steps(lessons.lesson(page, {}))}
    assert set(SEEN) <= known


def test_markdown_becomes_html_and_code_stays_as_it_is():
    assert lessons.inline("**a** `*b* <c>` [d](https://e.org/) [f](../g.md) [clone3(2)]") == (
        '<strong>a</strong> <code>*b* &lt;c&gt;</code>'
        ' <a href="https://e.org/" target="_blank">d</a> f clone3(2)')
    assert transcript.HOST == "host"
