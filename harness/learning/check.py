"""Shows a learner which milestone of a stage is next.

  ./check
  python3 -m harness.learning.check 05 FOLDER

The milestones are checked in their order, and only up to the first that is not reached, so that
there is one thing to do. A milestone that this machine cannot test does not count as missed; the
output says so.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import sys
from typing import Iterator, List, Sequence, TextIO

from harness import matrix, places
from harness.agent_client import Place, PlaceError
from harness.grading import report, writers
from harness.grading.grader import Program, cases_for, grade_in
from harness.learning import start
from harness.learning.task import Milestone, Task, rows_of_milestone
from harness.learning.tasks.table import TASKS
from harness.properties.model import PROMISE, Outcome, Property, Result
from harness.properties.scene import Tools
from harness.properties.table import PROPERTIES
from harness.properties.verdict import stage_number

REACHED, MISSED, UNSEEN = "reached", "missed", "not seen"
MARKS = {REACHED: "+", MISSED: "-", UNSEEN: "?"}


@dataclasses.dataclass(frozen=True)
class Step:
    """A milestone, and the results of its rows."""

    title: str
    results: Sequence[Result]

    @property
    def state(self) -> str:
        if any(result.is_bad for result in self.results):
            return MISSED
        passed = any(result.outcome is Outcome.PASSED for result in self.results)
        return REACHED if passed else UNSEEN

    @property
    def is_open(self) -> bool:
        """Whether there is something to do, or to see elsewhere. No row judges some milestones."""
        return bool(self.results) and self.state != REACHED


def before(stage: str) -> List[Property]:
    """What the stages before promise, and this one has to keep."""
    return [row for row in PROPERTIES if row.is_promised_at(stage)
            and stage_number(row.since) < stage_number(stage)]


def groups(task: Task) -> Iterator[tuple[str, List[Property]]]:
    """The milestones, and then what must not have been lost on the way."""
    for number, milestone in enumerate(task.milestones, 1):
        yield title_of(number, milestone), rows_of_milestone(task, milestone)
    if task.stage != "01":
        yield "What the stages before promise still holds", before(task.stage)


def title_of(number: int, milestone: Milestone) -> str:
    return f"{number}. {milestone.title} ({milestone.kind})"


def look(task: Task, program: Program, tools: Tools, where: Sequence[Place],
         everything: bool) -> Iterator[Step]:
    """One step after the other; no more after one that is missed, unless `everything`."""
    for title, rows in groups(task):
        step = Step(title, grade_in(where, tools, cases_for(program, rows, PROMISE)))
        yield step
        if step.state == MISSED and not everything:
            return


def tell(step: Step, hints: int, stream: TextIO) -> None:
    good, bad, dim, plain = (("\033[32m", "\033[31m", "\033[2m", "\033[0m") if stream.isatty()
                             else [""] * 4)
    ink = {REACHED: good, MISSED: bad, UNSEEN: dim}[step.state]
    rows = {result.case.property.name for result in step.results}
    missed = {result.case.property.name for result in step.results if result.is_bad}
    seen = {result.case.property.name for result in step.results
            if result.outcome is not Outcome.SKIPPED}
    count = f"  {len(seen - missed)} of {len(rows)}" if rows else ""
    print(f"{ink}{MARKS[step.state]} {step.title}{plain}{dim}{count}{plain}", file=stream)
    for name in dict.fromkeys(result.case.property.name for result in step.results):
        if name in missed:
            print(f"    {bad}{name}{plain}", file=stream)
    if step.state == MISSED:
        first = report.causes(step.results)[0][0]
        print(f"\nFix first: {report.on_one_line(first.case.id)}\n"
              f"{report.shown(writers.explain(first, hints))}", file=stream)
        if "$ROOT" in first.command:
            print(f"{dim}($ROOT: see TASK.md){plain}", file=stream)
    skipped = [result for result in step.results if result.outcome is Outcome.SKIPPED]
    if step.state == UNSEEN:
        why = skipped[0].why if skipped else "no row judges this: try it, and compare with our way"
        print(f"    {dim}{report.on_one_line(why)}{plain}", file=stream)


def remark(steps: Sequence[Step], place: str) -> str:
    """What was not tested, and how it can be."""
    skipped = [result for step in steps for result in step.results
               if result.outcome is Outcome.SKIPPED]
    if not skipped:
        return ""
    ways = (["sudo ./check"] if os.geteuid() != 0 else []) + (
        ["./check --in vm"] if place == "host" else [])
    return (f"{len(skipped)} of the checks cannot be run here"
            + (f"; try {' or '.join(ways)}" if ways else ""))


def verdict_on(stage: str, steps: Sequence[Step]) -> str:
    """A stage of which something was not seen is not called done. "" if something was missed."""
    if any(step.state == MISSED for step in steps):
        return ""
    if unseen := sum(step.is_open for step in steps):
        return (f"Nothing that was checked is red, but {unseen} of the {len(steps)}"
                f" lines above were not seen: stage {stage} may not be done.")
    return f"Stage {stage} is done: all that was checked holds."


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="check", description=__doc__.split("\n", 1)[0])
    parser.add_argument("stage", choices=list(TASKS), help=argparse.SUPPRESS)
    parser.add_argument("folder", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--all", action="store_true", help="check all milestones")
    parser.add_argument("--watch", action="store_true", help="check each time a source is saved")
    parser.add_argument("--hints", type=int, choices=range(4), default=1,
                        help="1: where to look, 2: the concept, 3: what to read; default: 1")
    parser.add_argument("--in", dest="place", choices=places.CHOICES, default="host",
                        metavar="PLACE", help=f"{places.HELP.split(';', maxsplit=1)[0]}; default:"
                        " host")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    arguments = parse(words)
    task, folder = TASKS[arguments.stage], arguments.folder
    try:
        if arguments.watch:
            start.watch(folder, (["--all"] if arguments.all else [])
                        + ["--hints", str(arguments.hints), "--in", arguments.place])
        own = next((folder / "stages").glob(f"{task.stage}_*"))
        program = Program.of(str(own / own.name), task.stage)
        tools = matrix.tools()
        steps = []
        with places.places(arguments.place, matrix.programs_of(tools), [program.path]) as where:
            for step in look(task, program, tools, where, arguments.all):
                steps.append(step)
                tell(step, arguments.hints, sys.stdout)
    except (StopIteration, ValueError, OSError, PlaceError) as error:
        print(f"check: {report.on_one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    if text := remark(steps, arguments.place):
        print(f"\n{text}")
    if verdict := verdict_on(task.stage, steps):
        print(f"\n{verdict}")
    return 1 if any(step.is_open for step in steps) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
