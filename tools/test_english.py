"""The turns of phrase that english.py finds, those that it leaves alone, and where it looks."""

from __future__ import annotations

from typing import List, Tuple

import english
import pytest


def found(path: str, text: str) -> List[Tuple[int, str]]:
    return [(finding.line, finding.rule.name) for finding in english.check(path, text)]


@pytest.mark.parametrize("sentence, rule", [
    ("Who does not start has violated nothing.", "headless who"),
    ("Whoever gets a prompt is ready.", "headless who"),
    ("The one thing for who runs it.", "headless who"),
    ("It is up to whoever started it.", "headless who"),
    ("The user sees his files.", "he"),
    ("Root may do what he wants.", "he"),
    ("Answers the directory.", "answers"),
    ("clone3(2) answers as fork(2) does.", "answers"),
    ("A call that answers EPERM.", "answers"),
    ("Bandwidth is nobody's.", "nobody's"),
    ("The cgroup is made anew.", "anew"),
    ("The command shall not run.", "shall"),
    ("It waits, for it has no child.", "causal for"),
    ("Else nothing is drawn.", "elliptic else"),
    ("Should it die, the next start cleans up.", "inversion"),
    ("Was the parent killed, the next start does it.", "inversion"),
    ("It is empty but for one file.", "but for"),
    ("That it is missing is no error.", "is no"),
    ("An own root.", "an own"),
    ("Use at most so many CPUs.", "so many"),
    ("The file tells of the host.", "tell of"),
    ("Layers lie upon each other.", "upon"),
    ("The cgroup hands controllers on.", "hand on"),
])
def test_the_phrase_is_found(sentence, rule):
    assert {name for _, name in found("page.md", f"Fine.\n\n{sentence}\n")} == {rule}


@pytest.mark.parametrize("sentence", [
    "Who may write there?",
    "Who may write there",
    "Which process ends, and who reaps it?",
    "A user who starts it.",
    "An answer to the question; the answers are folded.",
    "A web server answers to a client.",
    "The ids of nobody and nogroup.",
    "If it dies, the next start cleans up.",
    "Should it be read-only?",
    "There is no file; there is no program.",
    "A line for each, for messages.",
    "The help and the other option.",
    "something else, or else an error",
    "`Who` and `else x` are code.",
])
def test_good_english_is_left_alone(sentence):
    assert not found("page.md", f"# Title\n\n{sentence}\n")


@pytest.mark.parametrize("path, text, line", [
    ("a.cc", "int a;\n// It shall\n// not run.\n", 2),
    ("a.cc", "int a;  // it runs\n\n\nf(\"the command \"\n  \"shall not run\");\n", 5),
    ("a.h", "/* One.\n   It shall. */\n", 2),
    ("a.py", '"""One.\n\nIt shall.\n"""\n', 3),
    ("a.py", "x = 1  # it shall\n", 1),
    ("a.bzl", "x = [\"it shall\"]\n", 1),
    ("BUILD.bazel", "# it shall\n", 1),
    ("a.sh", "a=1 # it shall\n", 1),
    ("tool", "#!/bin/bash\necho \"it shall\"\n", 2),
    ("tool", "#!/usr/bin/python3\n# it shall\n", 2),
    ("page.md", "One.\n\n| it shall | b |\n", 3),
])
def test_comments_and_texts_are_looked_at(path, text, line):
    assert found(path, text) == [(line, "shall")]


@pytest.mark.parametrize("path, text", [
    ("a.cc", "int shall = 1;\n"),
    ("a.py", "shall = 1\n"),
    ("page.md", "```sh\nit shall\n```\n"),
    ("a.sh", "shall=1\n"),
    ("a.json", '"it shall"\n'),
    ("a.cc", "f();  // the licence says \"shall\"; english: allow\n"),
])
def test_code_and_what_is_allowed_are_not(path, text):
    assert not found(path, text)


def test_a_phrase_over_a_line_end_is_found_where_it_begins():
    assert found("a.cc", "// It is empty but\n// for one file.\n") == [(1, "but for")]


def test_comments_one_after_the_other_are_two_sentences_if_a_line_is_empty():
    assert not found("a.cc", "// One thing, but\n//\n// for all users.\n")
