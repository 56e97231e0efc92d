"""Reads the table of mutants, which Bazel reads too: a .bzl file that happens to be Python."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Dict, List, Sequence

TABLE = pathlib.Path(__file__).with_name("mutants.bzl")


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
    return Change(f"stages/{file}", old, new)


def load() -> List[Mutant]:
    _, _, table = TABLE.read_text(encoding="utf-8").partition("# --- The table ---")
    names: Dict[str, object] = {"mutant": Mutant, "change": change}
    exec(compile("#" + table, str(TABLE), "exec"), names)  # pylint: disable=exec-used
    mutants: List[Mutant] = names["MUTANTS"]  # type: ignore[assignment]
    return mutants
