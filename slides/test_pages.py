"""The stages' pages: one pattern, and what each says can be followed."""

from __future__ import annotations

import pathlib
import re

import pytest

from harness.properties.table import BY_NAME
from slides import living, step

HERE = pathlib.Path(".").resolve()
STAGES = step.stages(HERE)
HEADINGS = ["What leaks without it", "The idea", "The system calls", "The order",
            "What changes in main.cc", "Try it", "An attack", "Exercises", "What still leaks"]


def text_of(stage: str) -> str:
    return (HERE / "stages" / stage / "README.md").read_text(encoding="utf-8")


def sections(text: str) -> dict[str, str]:
    parts = re.split(r"^## (.*)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2]))


def transcripts(text: str) -> list[str]:
    return re.findall(r"^```console\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_there_are_ten():
    assert len(STAGES) == 10


@pytest.mark.parametrize("stage", STAGES)
def test_a_page_has_the_headings_in_order(stage):
    assert list(sections(text_of(stage))) == HEADINGS


@pytest.mark.parametrize("stage", STAGES)
def test_what_leaks_and_the_attack_are_shown_at_the_stage_before(stage):
    """The leak is run without this layer, and the attack both without it and with it."""
    found = sections(text_of(stage))
    before = STAGES[STAGES.index(stage) - 1] if stage != STAGES[0] else ""
    without = before or r"host:~[#$] (?!01_exec)\w+"
    if stage in ("03_userspace", "04_namespaces"):
        without = "02_chroot|03_userspace"
    leak = "".join(transcripts(found["What leaks without it"]))
    attack = "".join(transcripts(found["An attack"]))
    assert re.search(without, leak)
    assert re.search(without, attack) and stage in attack


@pytest.mark.parametrize("stage", STAGES)
def test_system_calls_are_a_table_with_man_pages(stage):
    """Every reference has its address at the end of the page, and is used."""
    text = text_of(stage)
    table = sections(text)["The system calls"]
    assert re.search(r"^\| \[\w+(?:\(\d\))?\].* \|", table, re.MULTILINE)
    addresses = set(re.findall(r"^\[([^]]+)\]: https://\S+$", text, re.MULTILINE))
    prose = re.sub(r"^```.*?^```$|`[^`\n]*`|^\[[^]]+\]: .*$", "", text,
                   flags=re.MULTILINE | re.DOTALL)
    used = set(re.findall(r"(?<!!)\[([^]]+)\](?!\()", prose))
    assert addresses == used


@pytest.mark.parametrize("stage", STAGES)
def test_exercises_have_a_check(stage):
    assert "Check: " in sections(text_of(stage))["Exercises"]


@pytest.mark.parametrize("stage", STAGES)
def test_properties_that_exercises_name_are_there(stage):
    names = set(re.findall(r"--property (\w+)", text_of(stage)))
    assert names <= set(BY_NAME)


@pytest.mark.parametrize("stage", STAGES)
def test_every_transcript_of_a_stages_page_is_run(stage):
    page = f"stages/{stage}/README.md"
    text = text_of(stage)
    run = [block for block in living.blocks(page, text.split("\n")) if block.kind == "console"]
    assert len(run) == len(transcripts(text)) >= 3


@pytest.mark.parametrize("stage", STAGES)
def test_links_lead_somewhere(stage):
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text_of(stage)):
        if target.endswith((".cc", ".h")):  # what else there is Bazel has not at hand
            assert (HERE / "stages" / stage / target).exists(), target
