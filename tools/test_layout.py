"""Files are short and imports form no circle, in this repository; mistakes are found in others."""

from __future__ import annotations

import pathlib

import layout
import pytest

REPOSITORY = pathlib.Path(layout.__file__).resolve().parents[1]


def write(root: pathlib.Path, **texts: str) -> None:
    """A file for each name, in which __ stands for a slash."""
    for name, text in texts.items():
        path = root / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_this_repository_is_in_order():
    assert len(layout.import_graph(REPOSITORY)) > 80
    assert not layout.mistakes(REPOSITORY)


def test_all_stages_properties_are_in_the_table():
    listed = layout.order_of_stages(REPOSITORY)
    folders = sorted(path.parent for path in (REPOSITORY / "stages").glob("*/main.cc"))
    # An engine calls 11_oci, so its command line is not that of the table.
    stages = [folder.name.split("_", 1)[1] for folder in folders if folder.name != "11_oci"]
    assert [name for name in listed if pathlib.Path(name).stem in stages] == \
        [f"harness/properties/{stage}.py" for stage in stages]


def test_every_page_of_a_stage_is_on_the_site():
    """Bazel cannot look for packages itself, so these two files name them."""
    named = "".join((REPOSITORY / path).read_text(encoding="utf-8") for path in
                    ("harness/property_test.bzl", "slides/site/BUILD.bazel"))
    stages = {path.parent.name for path in (REPOSITORY / "stages").glob("*/README.md")}
    assert len(stages) > 10
    assert not {stage for stage in stages if f'"//stages/{stage}' not in named}


@pytest.mark.parametrize("back", [
    "from room.first import name",
    "import room.first",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from room import first",
    "def function():\n    from room import first\n    return first",
])
def test_a_circle_is_shown_as_a_path(tmp_path, back):
    write(tmp_path, room__first="from room import second", room__second="import room.third",
          room__third=back)
    assert layout.find_circle(layout.import_graph(tmp_path)) == [
        "room/first.py", "room/second.py", "room/third.py", "room/first.py"]


def test_two_ways_to_the_same_file_are_no_circle(tmp_path):
    write(tmp_path, a="import b\nimport c", b="import d", c="import d", d="")
    assert layout.find_circle(layout.import_graph(tmp_path)) == []


@pytest.mark.parametrize("name, lines", [("a.py", 601), ("a.cc", 501), ("a.h", 501)])
def test_a_file_that_is_too_long_is_named(tmp_path, name, lines):
    (tmp_path / name).write_text("\n" * (lines - 1))
    assert layout.too_long(tmp_path) == []
    (tmp_path / name).write_text("\n" * lines)
    assert layout.too_long(tmp_path) == [
        f"{name} has {lines} lines, more than {lines - 1}: split it"]


def test_what_bazel_made_is_not_looked_at(tmp_path):
    (tmp_path / "bazel-out").mkdir()
    (tmp_path / "bazel-out" / "a.cc").write_text("\n" * 501)
    assert layout.too_long(tmp_path) == []


def test_a_stages_properties_need_no_later_ones():
    graph = {"exec.py": ["inside.py"], "chroot.py": ["exec.py", "seccomp.py"], "seccomp.py": []}
    assert layout.later_stages(graph, ["exec.py", "chroot.py", "seccomp.py"]) == [
        "chroot.py imports seccomp.py, which is a later stage's"]
