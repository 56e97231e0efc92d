"""Stages, callers, and what an observation returns: holds, violated, or no verdict."""

from __future__ import annotations

import dataclasses
from typing import Optional

# In the order in which they are built. "00" is the control for stage 01.
STAGES = ("00", "01", "02", "03", "04", "05", "06", "07", "08a", "08b", "08c", "09", "10")

ROOT = "root"
USER = "user"


def stage_number(stage: str) -> int:
    """The place of "05" or "05_userns" in the order of the stages."""
    number = stage.split("_")[0]
    if number not in STAGES:
        raise ValueError(f"no stage is called {stage}; there are {', '.join(STAGES[1:])}")
    return STAGES.index(number)


@dataclasses.dataclass(frozen=True)
class Seen:
    """One of the two observations that a property knows. `got` says what was seen."""

    holds: bool
    got: str
    mistake: Optional[str] = None  # what was probably done wrong, if not what the row names


def holds(got: str) -> Seen:
    return Seen(True, got)


def violated(got: str, mistake: Optional[str] = None) -> Seen:
    return Seen(False, got, mistake)


class ProbeBroke(Exception):
    """What was observed is neither of the two: no verdict."""


class NotStarted(Exception):
    """The program under test never ran the command, or did not run it to its end."""


class NotTestable(Exception):
    """This host cannot show it, for the given reason."""


class NotInKernel(NotTestable):
    """This kernel is too old for it, uses another security module, or is that of another processor;
    even a VM's kernel may."""
