"""Runs the scenes that the selected cases need, and judges each case."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import time
import traceback
from typing import Callable, Dict, FrozenSet, Iterable, List, Optional, Sequence, Set

from harness.agent_client import HOST, Agent, AgentError, AgentLost, Place, PlaceError
from harness.grading.foreign import EVERY_OPTION
from harness.properties.lacking import option_lacked
from harness.properties.look import Look, never_ran
from harness.properties.model import (ALL_SCENES, CONTROL, NOTHING, PROMISE, Case, Control,
                                      Outcome, Property, Result, case_for)
from harness.properties.scene import Scene, Stage, Tools
from harness.properties.table import ALONE, ASKS, PROPERTIES
from harness.properties.verdict import (ROOT, USER, NotInKernel, NotStarted, NotTestable,
                                        ProbeBroke, stage_number)
from harness.properties.verdict import Seen as Observed


@dataclasses.dataclass(frozen=True)
class Program:
    """A program under test, and the stage that it claims to be."""

    path: str
    stage: str
    label: str

    @staticmethod
    def of(path: str, stage: str) -> Program:
        number = stage.split("_")[0]
        stage_number(number)
        return Program(os.path.realpath(path), number, os.path.basename(path))


def cases_for(program: Program, rows: Sequence[Property], kind: str,
              identities: Sequence[str] = (ROOT, USER)) -> List[Case]:
    """All promises of a program's stage, or the controls that it can be for `rows`."""
    found = (case_for(row, program.stage, program.path, program.label, identity, kind)
             for row in rows for identity in identities)
    return [case for case in found if case is not None]


def cases_of_stage(program: Program, before: Optional[Program], rows: Sequence[Property],
                   identities: Sequence[str] = (ROOT, USER)) -> List[Case]:
    """What has to be shown about a stage: its promises, and that the rows that it introduces can
    fail, at the stage before or where the row says."""
    number = program.stage
    cases = cases_for(program, rows, PROMISE, identities)
    new = [row for row in rows if row.since == number]
    same = [row for row in new if row.control is Control.OTHER_SCENE]
    cases += cases_for(program, same, CONTROL, identities)
    if before is not None:
        earlier = [row for row in rows if row.control is Control.STAGE_BEFORE
                   and stage_number(before.stage) < stage_number(row.since)
                   <= stage_number(number)]
        cases += cases_for(before, earlier, CONTROL, identities)
    return cases


@dataclasses.dataclass(frozen=True)
class SceneKey:
    """A start that is made once, for all the cases that look at it."""

    program: str
    stage: str
    identity: str
    scene: Scene


@dataclasses.dataclass
class Seen:
    """The outcome of a scene: a Look, or why there is none."""

    look: Optional[Look] = None
    error: Optional[Exception] = None
    seconds: float = 0.0
    used: Set[str] = dataclasses.field(default_factory=set)  # of the program's options


def failing(tools: Tools, program: Program, rows: Sequence[Property] = PROPERTIES,
            identities: Sequence[str] = (ROOT, USER), time_limit: float = 5.0) -> List[Result]:
    """Which promises of its stage does this program break? For mutants and submissions."""
    cases = cases_for(program, rows, PROMISE, identities)
    return [result for result in Grader(tools, time_limit).grade(cases) if result.is_bad]


class Grader:
    """Runs each scene once, in one place. Several threads may call it."""

    def __init__(self, tools: Tools, time_limit: float = 5.0, place: Place = HOST,
                 deadline: Optional[float] = None, lacks: Sequence[str] = ()) -> None:
        """`time_limit`: seconds for each start. After `deadline`, of time.monotonic(), none is.
        `lacks`: options that the programs are known not to have."""
        self.lacks = lacks
        self.tools = tools
        self.deadline = deadline
        self.place = place
        self.time_limit = time_limit
        self.seen: Dict[SceneKey, Seen] = {}

    def grade(self, cases: Sequence[Case],
              tell: Callable[[Result], None] = lambda _: None) -> List[Result]:
        """Judges all cases, in order. `tell` is called with each result as soon as it is known."""
        self.place.boot()
        self.look_at(cases)
        results = []
        for case in cases:
            results.append(self.judge(case))
            tell(results[-1])
        return results

    def look_at(self, cases: Iterable[Case]) -> None:
        """Runs the scenes of the cases, several at a time: each has an agent of its own."""
        wanted: Dict[SceneKey, set] = {}
        for case in cases:
            for key in keys_of(case) + positives_of(case):
                if key not in self.seen:
                    wanted.setdefault(key, set()).update(case.property.asks)
        with concurrent.futures.ThreadPoolExecutor(self.place.at_once) as pool:
            jobs = {key: pool.submit(self.look, key, frozenset(asks))
                    for key, asks in wanted.items() if key.scene not in ALONE}
            for key, job in jobs.items():
                self.seen[key] = job.result()
        for key, asks in wanted.items():
            if key.scene in ALONE:
                self.seen[key] = self.look(key, frozenset(asks))

    def look(self, key: SceneKey, asks: FrozenSet[str]) -> Seen:
        start = time.monotonic()
        seen = Seen()
        if self.deadline is not None and start > self.deadline:
            return Seen(error=ProbeBroke("the time for this program was over before"))
        try:
            seen.look = self.look_with_agent(key, asks, seen.used)
        except (NotStarted, NotTestable, ProbeBroke) as error:
            seen.error = error
        except (AgentError, AgentLost, OSError) as error:
            excuse = NotTestable if self.place.hinders else ProbeBroke
            seen.error = excuse(f"the harness could not observe it: {error}")
        except Exception as error:  # pylint: disable=broad-except  # a bug is not a verdict
            seen.error = ProbeBroke(f"the harness broke: {error!r}\n{traceback.format_exc()}")
        seen.seconds = time.monotonic() - start
        return seen

    def look_with_agent(self, key: SceneKey, asks: FrozenSet[str], used: Set[str]) -> Look:
        there = self.place.path
        own = Tools(*map(there, dataclasses.astuple(self.tools)))
        programs = (there(key.program), own.probe, own.busybox)
        keep = sorted({kept for kept in map(what_to_keep, programs) if os.path.exists(kept)})
        # Without CAP_SYS_PTRACE, only a program's own user may read its /proc files, see ptrace(2).
        is_users = self.place.hinders and self.place.is_root and key.identity == USER
        user = self.place.ordinary[0] if is_users else None
        with Agent(self.tools.agent, keep=keep, place=self.place, user=user) as agent:
            if key.identity == ROOT and not agent.is_root:
                raise NotTestable("it needs root, and the harness was started by an ordinary user")
            stage = Stage(agent, own, there(key.program), key.stage, key.identity, ASKS, asks,
                          self.time_limit * self.place.patience, used=used)
            try:
                stage.make_host()
                look = key.scene(stage)
                look.leaks = stage.leaks()
                look.tried = stage.tried
                look.witnessed, look.claimed = stage.witnessed, stage.claimed
                # What a probe has said that started the program on the host, does not count.
                look.ran = any(set(stage.answers(run["stdout"])) - {run.get("said_by_caller")}
                               for run in look.runs.values())
                look.lacking = "" if look.ran else next(filter(None, (
                    option_lacked(run, used) for run in look.runs.values())), "")
                return look
            finally:
                stage.clean_up()

    def seen_by(self, case: Case) -> Seen:
        """The outcome that the case looks at. For a row of all scenes: what any of them left."""
        if case.property.scene is not ALL_SCENES:
            return self.seen[keys_of(case)[0]]
        seen = [(key, self.seen[key]) for key in keys_of(case) if key in self.seen]
        looks = [(key, one.look) for key, one in seen if one.look is not None]
        if not looks:
            return seen[0][1]
        leaks = [f"{leak} (in the scene {key.scene.__name__})" for key, look in looks
                 for leak in look.left + look.leaks]
        ran = any(look.ran for _, look in looks)
        return Seen(dataclasses.replace(looks[0][1], leaks=leaks, left=[], ran=ran))

    def add_leaks(self, result: Result) -> Result:
        """A row of all scenes holds if it also holds in the scenes that were run here."""
        if result.case.property.scene is not ALL_SCENES or result.is_bad:
            return result
        here = any(key in self.seen for key in keys_of(result.case))
        also = self.judge(result.case) if here else result
        return also if also.is_bad else result

    def judge(self, case: Case) -> Result:
        seen = self.seen_by(case)
        row = case.property
        expected = row.holds if case.kind == PROMISE else row.violated

        def result(outcome: Outcome, got: str, why: str = "") -> Result:
            look = seen.look if got == NOTHING else None
            # If it runs commands at all, only that of this row shows why it does not run here.
            general = look is not None and look.tried and not self.runs_commands(case)
            command = look.tried if look is not None and general else command_of(case)
            return Result(case, outcome, expected, got, why, command, self.place.name)

        try:
            if seen.look is None:
                raise seen.error if seen.error else ProbeBroke("it was not looked at")
            if case.kind == PROMISE and self.makes_answers_up(case):
                raise NotStarted(seen.look.problem or "the program itself writes what a command"
                                 " would: the host has never seen one")
            declared = self.declared_lacking(case, seen)
            if declared:
                return result(Outcome.LACKING, "", f"it has no {declared}")
            found = self.found_lacking(case, seen)
            if found:
                return result(Outcome.LACKING, NOTHING, f"it has no {found}")
            observed = row.observe(seen.look)
            # If the program never starts, all rows fail for the same reason, which has to be fixed
            # first.
            if case.kind == PROMISE and (observed.holds or not seen.look.ran):
                self.check_that_it_is_earned(case, seen.look, observed)
        except NotTestable as reason:
            if self.place.tests_all and not isinstance(reason, NotInKernel):
                return result(Outcome.ERROR, "", f"{self.place.name} must be able to: {reason}")
            return result(Outcome.SKIPPED, "", str(reason))
        except NotStarted as reason:
            outcome = Outcome.FAILED if case.kind == PROMISE else Outcome.ERROR
            return result(outcome, NOTHING, str(reason))
        except ProbeBroke as reason:
            if self.place.hinders:
                return result(Outcome.SKIPPED, "", f"there is no verdict here: {reason}")
            return result(Outcome.ERROR, str(reason),
                          "the probe broke: neither observation was made")
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            return result(Outcome.ERROR, traceback.format_exc(), f"the row broke: {error!r}")
        if observed.holds == (case.kind == PROMISE):
            return result(Outcome.PASSED, observed.got)
        why = (f"not so: {row.violated}" if case.kind == PROMISE
               else "it holds already, where it must not")
        return dataclasses.replace(result(Outcome.FAILED, observed.got, why),
                                   likely=observed.mistake)

    def makes_answers_up(self, case: Case) -> bool:
        """What it prints in other scenes is no answer, either, if no scene has a command."""
        looks = [seen.look for key, seen in self.seen.items()
                 if seen.look is not None and key.program == case.program]
        return any(look.claimed for look in looks) and not any(look.witnessed for look in looks)

    def runs_commands(self, case: Case) -> bool:
        return any(seen.look is not None and seen.look.ran for key, seen in self.seen.items()
                   if (key.program, key.identity) == (case.program, case.identity))

    def declared_lacking(self, case: Case, seen: Seen) -> str:
        """The option that this start has used, and that the program is said not to have."""
        if case.kind != PROMISE or case.property.scene is ALL_SCENES:
            return ""
        lacks = self.lacks
        if EVERY_OPTION in lacks:
            lacks = sorted(option for option in seen.used if not option.startswith("--rootfs"))
        return next((option for option in lacks if option in seen.used), "")

    def found_lacking(self, case: Case, seen: Seen) -> str:
        """The option that the program has refused as unknown."""
        if case.kind != PROMISE or case.property.scene is ALL_SCENES or seen.look is None:
            return ""
        for key in positives_of(case):  # an option that works there is not lacking here
            look = self.seen[key].look
            if look is not None and look.ran and seen.look.lacking in self.seen[key].used:
                return ""
        return "" if seen.look.ran else seen.look.lacking

    def check_that_it_is_earned(self, case: Case, look: Look, observed: Observed) -> None:
        """A program that never runs a command does not do anything, and that proves nothing."""
        if case.property.earned_by is None:
            if observed.holds and not look.ran:
                raise NotStarted(why_not_run(look))
            return
        without = self.seen[positives_of(case)[0]]
        if without.look is None:
            raise without.error if without.error else ProbeBroke("it was not looked at")
        if not without.look.ran:
            raise NotStarted(f"unhindered, too: {why_not_run(without.look)}")
        if observed.holds and case.property.earned_by.observe is not None:
            unhindered = case.property.earned_by.observe(without.look)
            if not unhindered.holds:
                raise NotStarted("without the hindrance, it does not do it either:"
                                 f" {unhindered.got}")


def command_of(case: Case) -> str:
    """The row's command to paste, for this program: at a stage that changes the root, with one."""
    command = case.property.command
    given = any(option in command for option in ("--rootfs", "--image"))
    if stage_number(case.stage) >= stage_number("02") and not given:
        command = command.replace("{stage}", "{stage} --rootfs {root}")
    return command.format(stage=case.program, root="$ROOT")


def why_not_run(look: Look) -> str:
    if look.problem or not look.runs:
        return look.problem or "the container never ran the command"
    return str(never_ran(list(look.runs.values())[-1]))


def grade_in(places: Sequence[Place], tools: Tools, cases: Sequence[Case],
             time_limit: float = 5.0, deadline: Optional[float] = None,
             lacks: Sequence[str] = ()) -> List[Result]:
    """Judges each case in the first of the places that can test it."""
    first, *others = places
    results = Grader(tools, time_limit, first, deadline, lacks).grade(cases)
    for place in others:
        if any(result.outcome is Outcome.SKIPPED for result in results):
            results = grade_skipped(results, Grader(tools, time_limit, place, deadline, lacks))
    return results


def grade_skipped(results: Sequence[Result], grader: Grader) -> List[Result]:
    """Replaces each skip by the result from another place, if that may have one."""
    def may_help(result: Result) -> bool:
        return (result.outcome is Outcome.SKIPPED
                and (result.case.property.selinux or not grader.place.selinux))

    skipped = [result for result in results if may_help(result)]
    if not skipped:
        return list(results)
    try:
        there = iter(grader.grade([result.case for result in skipped]))
    except PlaceError as error:
        no_place = f"and {grader.place.name} is not available: {str(error).splitlines()[0]}"
        there = iter(dataclasses.replace(result, why=f"{result.why}; {no_place}")
                     for result in skipped)
    return [next(there) if may_help(result) else grader.add_leaks(result)
            for result in results]


def what_to_keep(program: str) -> str:
    """What a program needs from /tmp and the like: everything that came with it."""
    for folder in ("/var/tmp/", "/var/cache/", "/tmp/"):
        if program.startswith(folder):
            return folder + program[len(folder):].split("/")[0]
    return program


def keys_of(case: Case) -> List[SceneKey]:
    """The starts that a case looks at: one, or all those of the stage's promises."""
    scenes_of_case = [case.scene]
    if case.property.scene is ALL_SCENES:
        scenes_of_case = ([case.property.control_scene] if case.kind == CONTROL
                          else scenes_of_promises(case.stage, case.identity))
    return [SceneKey(case.program, case.stage, case.identity, name) for name in scenes_of_case]


def positives_of(case: Case) -> List[SceneKey]:
    """The start without the hindrance, in which a program must show that it does its job."""
    positive = case.property.earned_by
    if positive is None or case.kind != PROMISE:
        return []
    return [SceneKey(case.program, case.stage, positive.identity or case.identity, positive.scene)]


def scenes_of_promises(stage: str, identity: str) -> List[Scene]:
    """The scenes in which a stage that keeps its promises can run."""
    rows = [row for row in PROPERTIES if row.scene is not ALL_SCENES
            and case_for(row, stage, "", "", identity, PROMISE) is not None]
    return sorted({row.scene for row in rows}, key=lambda scene: scene.__name__)
