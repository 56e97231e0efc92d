"""ESCAPES.md is what the table says, and each class has a test that can fail."""

from __future__ import annotations

import pathlib
import re

import pytest

from harness.escapes.classes import CLASSES, Escape
from harness.escapes.page import PAGE, page
from harness.properties.table import BY_NAME

FEWEST = 30


def test_the_page_is_current():
    there = pathlib.Path(PAGE).read_text(encoding="utf-8")
    assert there == page(), "write it again: bazel run //harness:escapes"


def test_there_are_enough_classes():
    assert len({escape.name for escape in CLASSES}) == len(CLASSES) >= FEWEST


@pytest.mark.parametrize("escape", CLASSES, ids=lambda escape: escape.name)
def test_a_class_names_tests_that_are_there(escape: Escape):
    assert escape.rows or escape.tests
    assert set(escape.rows) <= set(BY_NAME)
    assert bool(escape.tests) == bool(escape.seen)
    for test in escape.tests:
        path, _, name = test.partition("::")
        text = pathlib.Path(path).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{path} has no {name}"
