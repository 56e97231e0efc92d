"""What a property is, and the result of testing it. Writers and graders depend only on this."""

from __future__ import annotations

import ast
import dataclasses
import enum
import re
from typing import Callable, List, Optional, Sequence, Tuple

from harness.properties.look import Look
from harness.properties.scene import Scene
from harness.properties.verdict import ROOT, USER, Seen, stage_number

ALL_SCENES = None  # in place of a scene: a row that looks at whatever the other rows look at

SHELL = "{stage} --rootfs {root} -- /bin/sh -c"  # how many of the commands to paste begin


class Control(enum.Enum):
    """Where a property has to be seen violated."""

    STAGE_BEFORE = "the stage before"
    OTHER_SCENE = "the same stage, asked for it differently"
    NONE = "nowhere: see `seen_failing`"


@dataclasses.dataclass(frozen=True)
class Positive:
    """What has to be seen of a program before it counts that something does not happen: the same
    start, without what hinders it."""

    scene: Scene
    observe: Optional[Callable[[Look], Seen]] = None  # default: the command runs
    identity: str = ""  # the user who starts it; default: the same as for the other


@dataclasses.dataclass(frozen=True)
class Property:
    """One row of the table."""

    name: str
    since: str  # the stage that promises it first
    scene: Optional[Scene]  # one start of a container, of which many rows read; or ALL_SCENES
    observe: Callable[[Look], Seen]
    holds: str  # what is seen when it holds
    violated: str  # what is seen when it does not
    lesson: str  # why it matters
    man: str
    mistake: str  # the likely mistake; never the solution
    command: str  # to paste; {stage} is the program, {root} a root directory with busybox in it
    until: str = ""  # the stage from which on a later layer replaces it
    points: int = 1
    # For a row that may hold though the command has not run. All others hold only where it has.
    earned_by: Optional[Positive] = None
    # Rows that have to hold first: where one of them does not, that is the cause.
    needs: Tuple[str, ...] = ()
    asks: Tuple[str, ...] = ()  # what the probe has to do for it: keys of some stage's ASKS
    identities: Tuple[str, ...] = (ROOT, USER)  # who starts it
    control: Control = Control.STAGE_BEFORE
    control_scene: Optional[Scene] = None  # for OTHER_SCENE
    control_identity: str = ROOT
    seen_failing: str = ""  # for NONE: what was done to the stage to see it fail
    selinux: bool = False  # it needs a kernel that uses SELinux, which then does not use AppArmor

    def is_promised_at(self, stage: str) -> bool:
        number = stage_number(stage)
        if self.until and number >= stage_number(self.until):
            return False
        return number >= stage_number(self.since)


class Outcome(enum.Enum):
    PASSED = "passed"
    FAILED = "failed"  # the promise is broken, or the control is not
    ERROR = "error"  # no verdict: neither observation was made
    SKIPPED = "skipped"  # this host cannot test it
    LACKING = "n/a"  # the program has no such option, and so earns nothing with it


NOTHING = "nothing"  # what is got of a command that never ran

PROMISE = "holds"
CONTROL = "violated"


@dataclasses.dataclass(frozen=True)
class Case:
    """One property of one program: does it hold, or, as a control, is it seen violated?"""

    property: Property
    stage: str  # "05"
    program: str  # path
    label: str  # "05_userns"
    identity: str
    kind: str  # PROMISE or CONTROL

    @property
    def id(self) -> str:
        suffix = "-as_user" if self.identity == USER else ""
        return f"{self.label}-{self.property.name}-{self.kind}{suffix}"

    @property
    def scene(self) -> Optional[Scene]:
        row = self.property
        other = self.kind == CONTROL and row.control is Control.OTHER_SCENE
        return row.control_scene if other else row.scene


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a case. Everything that a writer needs is here."""

    case: Case
    outcome: Outcome
    expected: str
    got: str
    why: str = ""  # of a failure, an error or a skip, in one line
    command: str = ""
    place: str = "host"  # where it was tested
    likely: Optional[str] = None  # the likely mistake, if it is not the one that the row names

    @property
    def mistake(self) -> str:
        return self.case.property.mistake if self.likely is None else self.likely

    @property
    def points(self) -> int:
        is_earned = self.outcome is Outcome.PASSED and self.case.kind == PROMISE
        return self.case.property.points if is_earned else 0

    @property
    def is_bad(self) -> bool:
        return self.outcome in (Outcome.FAILED, Outcome.ERROR, Outcome.LACKING)

    @property
    def never_ran(self) -> bool:
        """Then nothing was seen of the property, and its likely mistake is not likely."""
        return self.got == NOTHING

    def explain(self) -> str:
        """The text of a failure: never the solution."""
        row = self.case.property
        lines = [
            f"property   {row.name} ({self.case.id})",
            in_lines(f"outcome    {self.outcome.value}: {self.why}"),
            f"tested in  {self.place}",
            f"expected   {self.expected}",
            in_lines(f"got        {self.got}"),
        ]
        if self.outcome is Outcome.SKIPPED:
            return "\n".join(lines[:2])
        if self.never_ran:
            return "\n".join([*lines[:3], f"try        {self.command}"])
        if self.case.kind == CONTROL:
            lines.append("control    this program must be seen without the property: a row that"
                         " cannot fail proves nothing")
        elif self.outcome is Outcome.FAILED:
            lines.append(f"mistake    {self.mistake}")
        lines += [f"lesson     {row.lesson}", f"read       man {row.man}",
                  f"try        {self.command}"]
        return "\n".join(lines)


OUTPUT = re.compile(r""", (stderr|stdout) ends with ('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")""")
CUT = re.compile(r"^\(\d+ characters\) \.\.\.(?:[^\n]*\n(?!$))?")  # the rest of a cut line, too
MOST_LINES = 5


def in_lines(told: str) -> str:
    """The end of a program's output below the line that introduces it, as it was written."""
    below = ""
    for stream, quoted in OUTPUT.findall(told):
        written = CUT.sub("", ast.literal_eval(quoted)).strip("\n").split("\n")[-MOST_LINES:]
        below += "".join(f"\n{name:<10} {line}" for name, line
                         in zip([stream, *[""] * len(written)], written))
    return OUTPUT.sub("", told) + below


@dataclasses.dataclass(frozen=True)
class Grade:
    """The results of one submission: those of its promises, without the controls."""

    name: str  # whose it is
    stage: str  # "05"
    results: Sequence[Result]
    problem: str = ""  # why it could not be graded, in one line: then it earns nothing
    log: str = ""  # the end of what its build wrote
    seconds: float = 0.0

    @property
    def score(self) -> int:
        return 0 if self.problem else sum(result.points for result in self.results)

    @property
    def max_score(self) -> int:
        return sum(result.case.property.points for result in self.results)

    @property
    def status(self) -> str:
        if self.problem:
            return "error"
        return "passed" if not any(result.is_bad for result in self.results) else "failed"

    def counts(self) -> str:
        """Such as "12 passed, 1 failed"."""
        outcomes = [result.outcome for result in self.results]
        told = [f"{outcomes.count(outcome)} {outcome.value}" for outcome in Outcome
                if outcome in outcomes]
        return ", ".join(told) or "no cases"


def hints(result: Result, level: int) -> List[Tuple[str, str]]:
    """Hints for a student whose property does not hold, one more at each level: where to look, the
    concept, the man page. Never the code."""
    row = result.case.property
    if result.never_ran:  # to know more of the property does not help
        return [("look", result.command)][:level]
    told = [("look", result.command), ("concept", row.lesson),
            ("read", f"man {row.man}; a likely mistake: {result.mistake}")]
    return told[:level]


def case_for(row: Property, stage: str, program: str, label: str, identity: str,
             kind: str) -> Optional[Case]:
    """The case, or None if the row says nothing about this stage and identity."""
    if kind == PROMISE:
        if not row.is_promised_at(stage) or identity not in row.identities:
            return None
        # Stages 02 to 04 need root, and say so in a property of its own.
        needs_root = stage in ("02", "03", "04")
        if identity == USER and needs_root and row.identities != (USER,):
            return None
        return Case(row, stage, program, label, identity, kind)
    if row.control is Control.NONE or identity != row.control_identity:
        return None
    if row.control is Control.OTHER_SCENE:
        return Case(row, stage, program, label, identity, kind) if row.since == stage else None
    is_before = stage_number(stage) < stage_number(row.since)
    return Case(row, stage, program, label, identity, kind) if is_before else None
