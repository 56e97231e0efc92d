"""What the generator of mutants changes, and what it leaves alone."""

from __future__ import annotations

import pytest

from harness.mutants.generate import KINDS, changed, explained, mutants_of

TEXT = """#include "x.h"

namespace box {
// check(nothing), 1 | 2
void set_up(int root) {
  check(mount(nullptr, "a | B_FLAG 7", nullptr, MS_REC | MS_PRIVATE, nullptr), "mount(/)");
  close_all();
  const int fd = open_it(root);
  if (fd < 3) return;
}
}  // namespace box"""

CHANGES = [
    ("delete", 6, ""),
    ("check", 6, 'unchecked(mount(nullptr, "a | B_FLAG 7", nullptr, MS_REC | MS_PRIVATE,'),
    ("swap", 6, "  close_all();\n  check(mount("),
    ("flag", 6, 'nullptr, MS_REC, nullptr)'),
    ("flag", 6, 'nullptr, MS_PRIVATE, nullptr)'),
    ("delete", 7, ""),
    ("off-by-one", 9, "if (fd < 4) return;"),
    ("off-by-one", 9, "if (fd <= 3) return;"),
]


def test_each_kind_changes_what_it_should_and_nothing_else():
    found = mutants_of("x.cc", TEXT)
    assert [(mutant.kind, mutant.line) for mutant in found] == [
        (kind, line) for kind, line, _ in CHANGES]
    for mutant, (_, _, new) in zip(found, CHANGES):
        assert new in mutant.new, mutant.tell()
    assert {mutant.kind for mutant in found} == set(KINDS)


@pytest.mark.parametrize("mutant", mutants_of("x.cc", TEXT), ids=lambda mutant: mutant.id)
def test_one_place_is_changed(mutant):
    text = changed(TEXT, mutant)
    assert text != TEXT and mutant.new in text
    assert text.count("\n") <= TEXT.count("\n") + 4
    assert ("unchecked(Result result" in text) == (mutant.kind == "check")


def test_survivors_that_are_explained_say_why():
    for name, why in explained().items():
        assert name.count(":") == 2 or name.startswith("flag "), name
        assert len(why) > 12, name


def test_a_dropped_flag_is_named():
    names = [mutant.dropped_flag for mutant in mutants_of("x.cc", TEXT)]
    assert sorted(filter(None, names)) == ["flag MS_PRIVATE", "flag MS_REC"]
