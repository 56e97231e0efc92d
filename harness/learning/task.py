"""What a learner gets to know about a stage: the goal, how it is called, what to write in which
order.

A file in tasks/ has this for one stage. A row of the harness that no milestone names belongs to the
last one, which is about what makes the stage robust. So each row is in exactly one, also a row that
is added tomorrow.
"""

from __future__ import annotations

import dataclasses
from typing import List, Sequence, Tuple

from harness.learning.skeleton import Todo
from harness.properties.model import Property
from harness.properties.table import PROPERTIES

CORE, THEN, ROBUST = "core", "then", "robust"


@dataclasses.dataclass(frozen=True)
class Milestone:
    """A step that can be seen to be done. `rows` are names of the table."""

    kind: str  # CORE, THEN or ROBUST
    title: str
    rows: Tuple[str, ...] = ()
    again: Tuple[str, ...] = ()  # rows of earlier stages that this stage breaks until it is done


@dataclasses.dataclass(frozen=True)
class Example:
    """A line for a shell, and all that it writes. Our own stage is held to it."""

    line: str
    prints: str
    needs: str = ""  # an operation of the doctor's, without which it cannot be tried


@dataclasses.dataclass(frozen=True)
class Task:
    stage: str  # "05"
    goal: str  # one sentence
    examples: Tuple[Example, ...]
    toolkit: Tuple[Tuple[str, str], ...]  # what to use, and for what; COMMON_TOOLS are there, too
    todos: Tuple[Todo, ...]
    milestones: Tuple[Milestone, ...]

    @property
    def written(self) -> List[str]:
        """The files that have something to write, main.cc apart."""
        return sorted({todo.file for todo in self.todos})


COMMON_TOOLS = (
    ("check(call, \"name({})\", argument)", "passes a system call's result on; if it is -1, throws"
     " Failure. `--verbose` shows it"),
    ("check_quietly(…)", "the same, but `--verbose` does not show it"),
    ("throw Failure(\"what failed\", \"hint\")", "one line on stderr, a hint, exit status 125"),
    ("UniqueFd fd(…); fd.get()", "owns a descriptor, and closes it at the end of its scope"),
)
TOOLS = 8


def rows_of(stage: str) -> List[Property]:
    return [row for row in PROPERTIES if row.since == stage]


def rows_of_milestone(task: Task, milestone: Milestone,
                      rows: Sequence[Property] = PROPERTIES) -> List[Property]:
    """Those that it names; for the last one also those that none names."""
    own = [row for row in rows if row.since == task.stage]
    again = [row for row in rows if row.name in milestone.again]
    if milestone is not task.milestones[-1]:
        return [row for row in own if row.name in milestone.rows] + again
    elsewhere = {name for other in task.milestones[:-1] for name in other.rows}
    return [row for row in own if row.name not in elsewhere] + again
