"""Blocks that stand for code and measurements: on pages of our own, and on copies of the real."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest

from harness.learning.tasks.table import TASKS
from slides import living

HERE = pathlib.Path(".").resolve()

CODE = """\
// Adds.
int add(int a, int b) {
  const int sum = a + b;
  if (sum < 0) return 0;
  return sum;
}

struct Box {
  int size() const { return 1; }
};

void twice(int) {}
void twice(long) {}
"""


@pytest.fixture
def root(tmp_path):
    """A repository with one source, two stages and one measurement."""
    files = {
        "a.cc": CODE, "a.sh": "one\ntwo\nthree\n",
        "stages/01_one/main.cc": "// One.\n\n#include \"x.h\"\n\nint run() {\n  first();\n}\n",
        "stages/02_two/main.cc": "// Two.\n\n#include \"y.h\"\n\nint run() {\n  first();\n"
                                 "  second();\n}\n",
        "slides/measured/start.json": json.dumps({
            "title": "Start", "command": "bench", "when": "today", "machine": "this",
            "columns": ["what", "ms"], "rows": [["ours", 1.5]], "bars": [["ours", 1.5]]}),
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def page(root, text):
    (root / "page.md").write_text(text, encoding="utf-8")
    complaints = living.update(root, ["page.md"], None, write=True)
    return (root / "page.md").read_text(encoding="utf-8"), complaints


@pytest.mark.parametrize("directive, wanted", [
    ("snippet: a.cc add", "```cpp\nint add(int a, int b) {\n  const int sum = a + b;\n"
     "  if (sum < 0) return 0;\n  return sum;\n}\n```"),
    ("snippet: a.cc Box::size", "```cpp\nint size() const { return 1; }\n```"),
    ("snippet: a.cc add comment to=int", "```cpp\n// Adds.\nint add(int a, int b) {\n…\n```"),
    ('snippet: a.cc add from="if (" to="sum;"', "```cpp\n…\nif (sum < 0) return 0;\nreturn sum;\n"
     "…\n```"),
    ("snippet: a.cc twice like=long", "```cpp\nvoid twice(long) {}\n```"),
    ("snippet: a.sh from=two", "```sh\ntwo\n```"),
    ("diff: 01 02_two", "```diff\n   first();\n+  second();\n }\n```"),
    ("diff: 01 02 context=0", "```diff\n+  second();\n```"),
    ("diff: 01 02 from=second", "```diff\n…\n+  second();\n…\n```"),
    ("table: start", "| what | ms |\n| --- | ---: |\n| ours | 1.5 |\n\n"
     "*Measured today on this: `bench`*"),
    ('table: start rows="ours"', "| what | ms |\n| --- | ---: |\n| ours | 1.5 |\n\n"
     "*Measured today on this: `bench`*"),
    ("plot: start", "![Start](slides/pictures/start.svg)"),
    ("milestones: 05", "\n".join(f"{number}. {one.title}" for number, one
                                 in enumerate(TASKS["05"].milestones, 1))),
])
def test_a_directive_makes_its_block_once(root, directive, wanted):
    text, complaints = page(root, f"Before.\n\n<!-- {directive} -->\n\nAfter.\n")
    assert text == f"Before.\n\n<!-- {directive} -->\n{wanted}\n\nAfter.\n"
    assert complaints[0].startswith("page.md:3: this is not what it quotes\n")
    again, complaints = page(root, text)
    assert (again, complaints) == (text, [])


def test_what_is_stale_is_replaced_and_told_with_the_difference(root):
    text, complaints = page(root, "\n<!-- snippet: a.sh from=one to=two -->\n\n"
                                  "```sh\none\n2\n```\n\n```sh\nls\n```\n")
    assert text == ("\n<!-- snippet: a.sh from=one to=two -->\n\n```sh\none\ntwo\n```\n\n"
                    "```sh\nls\n```\n")
    assert complaints == ["page.md:2: this is not what it quotes\n"
                          "--- the page\n+++ what it quotes\n@@ -4,4 +4,4 @@\n"
                          " ```sh\n one\n-2\n+two\n ```"]


@pytest.mark.parametrize("directive, complaint", [
    ("snippet: a.cc gone", "a.cc defines no gone"),
    ("snippet: a.cc twice", "twice is defined at a.cc:12, a.cc:13: add like="),
    ("snippet: b.cc add", "b.cc: No such file or directory"),
    ("snippet: a.cc add from=nothing", "a.cc has no line there with 'nothing'"),
    ("snippet: a.cc add form=x", "snippet knows no form=; only from, to, like"),
    ("snippet: a.cc", "snippet: FILE and a NAME"),
    ("diff: 01 09", "there is no stage 09"),
    ('table: start rows="ours|theirs"', "slides/measured/start.json has no row 'theirs'"),
    ("plot: start rows=ours", "plot knows no rows="),
    ("milestones: 5", "there is no task 5; there are 01, 02"),
    ("table: none", "slides/measured/none.json: No such file or directory"),
])
def test_what_cannot_be_quoted_is_refused_with_its_place(root, directive, complaint):
    text, complaints = page(root, f"\n<!-- {directive} -->\n```cpp\nold\n```\n")
    assert len(complaints) == 1 and complaints[0].startswith(f"page.md:2: {complaint}")
    assert "old" in text


def test_a_drawing_is_drawn_anew_with_its_data(root):
    _, complaints = page(root, "<!-- plot: start -->\n")
    assert "slides/pictures/start.svg:1: is not what slides/plot.py draws now" in complaints
    drawn = root / "slides/pictures/start.svg"
    assert drawn.read_text(encoding="utf-8").startswith("<svg")
    drawn.write_text("<svg/>")
    assert living.update(root, ["page.md"], None, write=False) == [
        "slides/pictures/start.svg:1: is not what slides/plot.py draws now"]


@pytest.mark.parametrize("text, complaint", [
    ("<!-- not run: -->\n```console\n$ ls\n```\n", "page.md:1: not run: without a reason"),
    ("<!-- before: x -->\nWords.\n", "page.md:2: a console block has to follow"),
    ("```console\nhost:~$ ls\n", "page.md:1: this block is never closed"),
])
def test_a_page_that_makes_no_sense_is_refused(root, text, complaint):
    assert [one for one in page(root, text)[1] if one.startswith(complaint)]


def test_every_console_block_is_found_and_the_excused_are_not(root):
    text = ("```console\nhost:~$ a\n```\n<!-- not run: for show -->\n```console\n$ b\n```\n"
            "<!-- before: touch x -->\n\n```console\nhost:~$ c\n```\n```sh\nd\n```\n")
    found = list(living.blocks("page.md", text.split("\n")))
    assert [(block.line, block.before) for block in found] == [(1, []), (10, ["touch x"])]


def test_all_quoted_code_and_data_is_so():
    assert not living.update(HERE, living.pages_of(HERE), None, write=False)


def copy_of_the_repository(folder):
    for name in ("common", "stages", "slides"):
        shutil.copytree(HERE / name, folder / name)
    return folder


def test_a_function_that_a_page_quotes_and_that_is_gone_is_told_with_the_place(tmp_path):
    copy = copy_of_the_repository(tmp_path)
    source = copy / "stages/05_userns/id_map.cc"
    text = source.read_text(encoding="utf-8")
    source.unlink()
    source.write_text(text.replace("void write_id_maps(", "void write_maps("), encoding="utf-8")
    page = "stages/05_userns/README.md"
    lines = (copy / page).read_text(encoding="utf-8").split("\n")
    line = next(number for number, one in enumerate(lines, 1) if "id_map.cc write_id_maps" in one)
    assert living.update(copy, [page], None, write=False) == [
        f"{page}:{line}: stages/05_userns/id_map.cc defines no write_id_maps"]


def test_a_line_that_changed_in_the_code_is_told_with_the_difference(tmp_path):
    copy = copy_of_the_repository(tmp_path)
    source = copy / "stages/02_chroot/chroot.cc"
    text = source.read_text(encoding="utf-8")
    source.unlink()
    source.write_text(text.replace('check(chroot(".")', 'check(chroot("/")'), encoding="utf-8")
    (complaint,) = living.update(copy, ["stages/02_chroot/README.md"], None, write=False)
    assert '-  check(chroot("."), "chroot(.)");\n+  check(chroot("/"), "chroot(.)");' in complaint


def test_a_drawing_brings_its_style_so_that_it_can_stand_on_any_page(root):
    pictures = root / "slides/pictures"
    pictures.mkdir()
    (pictures / "style.css").write_text("rect { fill: red; }\n", encoding="utf-8")
    drawing = '<svg viewBox="0 0 9 9">\n<title>A</title>\n<rect/>\n</svg>\n'
    for name, text in {"a": drawing, "plot": drawing.replace("<rect", "<style>x</style>\n<rect"),
                       "old": living.dressed(drawing, "rect { fill: blue; }\n")}.items():
        (pictures / f"{name}.svg").write_text(text, encoding="utf-8")
    complaints = living.update(root, [], None, write=True)
    assert sorted(complaints) == [f"slides/pictures/{name}.svg:1: has not the style of "
                                  "slides/pictures/style.css" for name in ("a", "old")]
    (now, old) = [(pictures / f"{name}.svg").read_text(encoding="utf-8") for name in ("a", "old")]
    assert now == old and "<style class=\"worn\">\nrect { fill: red; }\n</style>" in now
    assert living.update(root, [], None, write=False) == []
