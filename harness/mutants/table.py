"""Reads the table of mutants, which Bazel reads too: .bzl files that happen to be Python."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Dict, List, Sequence

FOLDER = pathlib.Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Change:
    """In `file`, `old` is replaced by `new`."""

    file: str
    old: str
    new: str


@dataclasses.dataclass(frozen=True)
class Mutant:
    """A stage with a mistake in it, and the row of harness/properties that has to see it."""

    name: str
    stage: str
    caught_by: str
    why: str  # one makes this mistake
    changes: Sequence[Change]
    also: Sequence[str] = ()  # rows that cannot but see the same thing
    because: str = ""  # why they cannot

    @property
    def id(self) -> str:
        return f"{self.stage}-{self.name}-caught_by-{self.caught_by}"


def change(file: str, old: str, new: str) -> Change:
    return Change(file if file.startswith("common/") else f"stages/{file}", old, new)


def read(file: str) -> Dict[str, Any]:
    """What a .bzl file defines. Of what it loads, `mutant.bzl` is what this file has in Python."""
    names: Dict[str, Any] = {"mutant": Mutant, "change": change}

    def load_from(label: str, *_: str, **names_there: str) -> None:
        for here, there in names_there.items():
            names[here] = read(label[1:])[there]

    names["load"] = load_from
    text = (FOLDER / file).read_text(encoding="utf-8")
    exec(compile(text, file, "exec"), names)  # pylint: disable=exec-used
    return names


def load() -> List[Mutant]:
    return read("mutants.bzl")["MUTANTS"]
