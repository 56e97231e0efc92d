"""The table is complete, and verdicts are right, whatever was seen."""

from __future__ import annotations

import dataclasses
import inspect
import re
import time
import types
from typing import List

import pytest

from harness.grading import report
from harness.agent_client import HOST, Host, PlaceError
from harness.grading.grader import (Grader, Program, Seen, cases_for, cases_of_stage, command_of,
                                    grade_skipped, keys_of, positives_of)
from harness.properties.chroot import anybody
from harness.properties.exec import told_once
from harness.properties.inside import inside
from harness.properties.look import Look, last_error, tell_run
from harness.properties.model import (ALL_SCENES, CONTROL, NOTHING, PROMISE, Case, Control,
                                      Outcome, Positive, Property, Result)
from harness.properties.scene import Stage, Tools
from harness.properties.table import ASKS, BY_NAME, FILES, PROPERTIES
from harness.properties.verdict import (ROOT, STAGES, USER, NotInKernel, NotStarted, NotTestable,
                                        ProbeBroke, holds, stage_number, violated)

NO_TOOLS = Tools("", "", "")
RAN = Look(ROOT, {}, ran=True)
STAGE_05 = Program("/x/05_userns", "05", "05_userns")
STAGE_04 = Program("/x/04_namespaces", "04", "04_namespaces")

# All scenes that the stages' files have: what a function of a Stage alone sees.
SCENES = [function for file in FILES for _, function in inspect.getmembers(file, inspect.isfunction)
          if function.__module__ == file.__name__
          and list(function.__annotations__.items()) == [("stage", "Stage"), ("return", "Look")]]
SCENES.append(inside)


def test_there_are_at_least_60_rows():
    assert len(PROPERTIES) >= 60
    assert len({row.name for row in PROPERTIES}) == len(PROPERTIES)


@pytest.mark.parametrize("row", PROPERTIES, ids=lambda row: row.name)
def test_a_row_says_all_that_it_has_to(row):
    assert re.fullmatch("[a-z0-9_]+", row.name)
    assert row.since in STAGES and row.until in ("",) + STAGES
    for text in (row.holds, row.violated, row.lesson, row.mistake, row.command):
        assert text and "\n" not in text
    assert row.holds != row.violated
    assert re.fullmatch(r"[1-8] [a-z0-9_.-]+", row.man)
    assert "{stage}" in row.command
    row.command.format(stage="X", root="Y")
    assert row.scene in SCENES or row.scene is ALL_SCENES
    assert set(row.asks) <= set(ASKS)
    for needed in row.needs:
        assert stage_number(BY_NAME[needed].since) <= stage_number(row.since)
    assert row.points >= 1 and isinstance(row.points, int)
    assert (row.control is Control.OTHER_SCENE) <= (row.control_scene in SCENES)
    assert (row.control is Control.NONE) == bool(row.seen_failing)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_every_scene_is_some_rows(scene):
    assert any(scene in (row.scene, row.control_scene, row.earned_by and row.earned_by.scene)
               for row in PROPERTIES)


@pytest.mark.parametrize("ask", ASKS)
def test_every_question_is_some_rows(ask):
    assert ask == "hello" or any(ask in row.asks for row in PROPERTIES)


def test_every_row_but_those_that_say_why_has_a_control_somewhere():
    stages = ["00", "01", "02", "03", "04", "05", "06"]
    for before, stage in zip(stages, stages[1:]):
        program = Program("/x/now", stage, "now")
        cases = cases_of_stage(program, Program("/x/before", before, "before"), PROPERTIES)
        controlled = {case.property.name for case in cases if case.kind == CONTROL}
        for row in PROPERTIES:
            if row.since == stage:
                assert (row.name in controlled) == (row.control is not Control.NONE), row.name


def test_names_are_as_promised():
    ids = {case.id for case in cases_of_stage(STAGE_05, STAGE_04, PROPERTIES)}
    assert "05_userns-hostname_is_own-holds" in ids
    assert "05_userns-hostname_is_own-holds-as_user" in ids
    assert "04_namespaces-own_user_namespace-violated" in ids
    assert not [name for name in ids if name.startswith("04_") and name.endswith("holds")]


def test_a_gap_in_the_stages_is_no_gap_in_the_controls():
    """If the stage between is not there, the one before it has to be seen without the property."""
    ids = {case.id for case in cases_of_stage(
        STAGE_05, Program("/x/01_exec", "01", "01_exec"), PROPERTIES)}
    assert {"01_exec-own_user_namespace-violated", "01_exec-own_pid_namespace-violated",
            "01_exec-host_file_is_hidden-violated"} <= ids


def test_stages_that_need_root_promise_an_ordinary_user_only_to_say_so():
    cases = cases_for(STAGE_04, PROPERTIES, PROMISE)
    assert [case.property.name for case in cases if case.identity == USER] == [
        "needs_root_and_says_so"]


def test_no_stage_is_called_so():
    with pytest.raises(ValueError):
        stage_number("99_nothing")


def row(**changes) -> Property:
    """A row that returns what is in the facts."""
    return dataclasses.replace(PROPERTIES[0], name="row", scene=anybody, asks=(), **changes)


def raise_(error: Exception):
    raise error


JUDGED = [
    (lambda look: holds("good"), PROMISE, Outcome.PASSED),
    (lambda look: violated("bad"), PROMISE, Outcome.FAILED),
    (lambda look: holds("good"), CONTROL, Outcome.FAILED),
    (lambda look: violated("bad"), CONTROL, Outcome.PASSED),
    (lambda look: raise_(ProbeBroke("odd output")), PROMISE, Outcome.ERROR),
    (lambda look: raise_(ProbeBroke("odd output")), CONTROL, Outcome.ERROR),
    (lambda look: raise_(NotStarted("it hangs")), PROMISE, Outcome.FAILED),
    (lambda look: raise_(NotStarted("it hangs")), CONTROL, Outcome.ERROR),
    (lambda look: raise_(NotTestable("no kernel for it")), PROMISE, Outcome.SKIPPED),
    (lambda look: look.facts["not there"], PROMISE, Outcome.ERROR),
    (lambda look: look.fact("not there"), PROMISE, Outcome.ERROR),
    (lambda look: look.answer("hello"), PROMISE, Outcome.ERROR),
]


class Elsewhere(Host):
    """A place that can test everything; or, with an error, one that is not available."""

    name = "elsewhere"
    tests_all = True

    def __init__(self, error: str = "") -> None:
        self.error = error

    def boot(self) -> None:
        if self.error:
            raise PlaceError(self.error)


def judged(observe, kind, look=None, error=None, place=HOST):
    case = Case(row(observe=observe), "05", "/x/05_userns", "05_userns", ROOT, kind)
    grader = Grader(NO_TOOLS, place=place)
    grader.seen[keys_of(case)[0]] = Seen(look, error)
    return grader.judge(case)


@pytest.mark.parametrize("observe, kind, outcome", JUDGED)
def test_what_was_seen_is_judged(observe, kind, outcome):
    result = judged(observe, kind, RAN)
    assert result.outcome is outcome
    assert result.points == (1 if (outcome, kind) == (Outcome.PASSED, PROMISE) else 0)


def test_what_does_not_happen_counts_only_for_a_program_that_was_seen_to_run():
    assert judged(JUDGED[0][0], PROMISE, Look(ROOT, {})).outcome is Outcome.FAILED
    assert judged(JUDGED[1][0], CONTROL, Look(ROOT, {})).outcome is Outcome.PASSED


@pytest.mark.parametrize("unhindered, outcome", [
    (RAN, Outcome.PASSED),
    (Look(ROOT, {}, problem="it has crashed"), Outcome.FAILED),
])
def test_a_refusal_is_earned_by_the_start_that_nothing_hinders(unhindered, outcome):
    refusal = row(observe=JUDGED[0][0], earned_by=Positive(inside))
    case = Case(refusal, "05", "/x/05_userns", "05_userns", ROOT, PROMISE)
    grader = Grader(NO_TOOLS)
    grader.seen = {keys_of(case)[0]: Seen(Look(ROOT, {})), positives_of(case)[0]: Seen(unhindered)}
    result = grader.judge(case)
    assert result.outcome is outcome
    assert outcome is Outcome.PASSED or result.why == "unhindered, too: it has crashed"


def test_an_option_that_is_known_to_be_lacking_is_not_asked_for():
    case = Case(row(observe=JUDGED[0][0]), "05", "/x/05_userns", "05_userns", ROOT, PROMISE)
    grader = Grader(NO_TOOLS, lacks=["--init"])
    grader.seen[keys_of(case)[0]] = Seen(RAN, used={"--init"})
    result = grader.judge(case)
    assert (result.outcome, result.points) == (Outcome.LACKING, 0)


def not_testable(_: Look):
    raise NotTestable("no kernel for it")


def test_what_a_vm_cannot_test_is_an_error():
    result = judged(not_testable, PROMISE, RAN, place=Elsewhere())
    assert result.outcome is Outcome.ERROR and "no kernel for it" in result.why
    assert "elsewhere" in result.explain()


def too_old(_: Look):
    raise NotInKernel("this kernel is too old")


def test_what_a_vms_kernel_is_too_old_for_is_no_error():
    result = judged(too_old, PROMISE, RAN, place=Elsewhere())
    assert result.outcome is Outcome.SKIPPED and "too old" in result.why


class Scripted(Grader):
    """Returns the given outcomes, instead of running scenes."""

    def __init__(self, place, **given) -> None:
        super().__init__(NO_TOOLS, place=place)
        self.given = Seen(Look(ROOT, {}, ran=True, **given))

    def look(self, key, asks):
        return self.given


def graded(grader, *rows):
    return grader.grade([Case(row_, "05", "/x/05_userns", "05_userns", ROOT, PROMISE)
                         for row_ in rows])


def test_what_is_skipped_is_tested_in_the_next_place():
    def only_there(look: Look):
        return holds("seen") if "cgroup" in look.facts else not_testable(look)

    here = graded(Scripted(HOST), row(observe=JUDGED[0][0]), row(observe=only_there))
    assert [result.outcome for result in here] == [Outcome.PASSED, Outcome.SKIPPED]
    there = grade_skipped(here, Scripted(Elsewhere(), facts={"cgroup": "/"}))
    assert [result.outcome for result in there] == [Outcome.PASSED, Outcome.PASSED]
    assert [result.place for result in there] == ["host", "elsewhere"]


def test_without_the_next_place_it_stays_a_skip_that_says_why():
    here = graded(Scripted(HOST), row(observe=not_testable))
    there = grade_skipped(here, Scripted(Elsewhere("no QEMU\nhint: get it")))
    assert there[0].outcome is Outcome.SKIPPED
    assert there[0].why == "no kernel for it; and elsewhere is not available: no QEMU"


def test_what_is_left_in_the_next_place_counts():
    left = next(row for row in PROPERTIES if row.scene is ALL_SCENES)
    not_here = dataclasses.replace(row(observe=not_testable), scene=inside)
    here = graded(Scripted(HOST), left, not_here)
    assert here[0].outcome is Outcome.PASSED
    dirty = Scripted(Elsewhere(), leaks=["mounts: new: x"])
    assert grade_skipped(here, dirty)[0].outcome is Outcome.FAILED


def test_the_output_of_a_broken_probe_is_in_the_error():
    assert "odd output" in judged(lambda look: raise_(ProbeBroke("odd output")), PROMISE,
                                  Look(ROOT, {})).explain()


def test_where_nothing_was_seen_the_reason_is_told():
    result = judged(JUDGED[0][0], PROMISE, error=NotStarted("it is not executable"))
    assert result.outcome is Outcome.FAILED and result.why == "it is not executable"


def test_a_failure_says_all_but_the_solution():
    text = judged(lambda look: violated("bad"), PROMISE, RAN).explain()
    for part in ("property", "expected", "got        bad", "mistake", "lesson", "man ", "try "):
        assert part in text


def results_of(*observed) -> List:
    return [judged(observe, kind, RAN) for observe, kind, _ in observed]


def test_the_matrix_shows_stages_across_and_properties_down():
    text = report.matrix(results_of(JUDGED[0]))
    assert text.splitlines()[0].split() == ["05"]
    assert text.splitlines()[1].split() == ["row", "+"]
    assert report.matrix(results_of(JUDGED[3])).splitlines()[1].split() == ["row", "-"]
    assert report.matrix(results_of(JUDGED[0], JUDGED[3])).splitlines()[1].split() == ["row", "+/-"]
    assert report.matrix(results_of(JUDGED[1])).splitlines()[1].split() == ["row", "FAIL"]
    assert report.matrix(results_of(JUDGED[4])).splitlines()[1].split() == ["row", "ERR"]


def test_the_summary_counts():
    text = report.summary(results_of(*JUDGED[:4]))
    assert text == "4 cases: 2 passed, 2 failed; 1 of 2 points"


def test_alike_failures_are_told_once():
    text = report.failures(results_of(JUDGED[1], JUDGED[1]))
    assert text.count("property ") == 1 and "so too" in text


def result_of(name: str, outcome: Outcome = Outcome.FAILED, got: str = "bad", why: str = "no",
              identity: str = ROOT) -> Result:
    case = Case(BY_NAME[name], "05", "/x/05_userns", "05_userns", identity, PROMISE)
    return Result(case, outcome, "", got, why)


def test_one_missing_namespace_is_one_block():
    lost = [result_of(name, got=name) for name in (
        "posix_queue_stays_inside", "sysv_ipc_is_hidden", "own_ipc_namespace", "env_option_works")]
    told = [[result.case.property.name for result in group] for group in report.causes(lost)]
    assert told == [["own_ipc_namespace", "posix_queue_stays_inside", "sysv_ipc_is_hidden"],
                    ["env_option_works"]]
    assert len(report.causes(lost[:2])) == 2  # the namespace is there: then it is not the cause


def test_a_program_that_says_why_it_does_not_start_is_one_block_whoever_starts_it():
    why = "the container never ran the command: '/tmp/box-{}: no root', exit status 1"
    lost = [result_of("host_file_is_hidden", got=NOTHING, why=why.format("0123456789ab")),
            result_of("env_option_works", got=NOTHING, why=why.format("ba9876543210")),
            result_of("own_pid_namespace", got=NOTHING, why="it hangs"),
            result_of("env_option_works", got=NOTHING, why=why.format("ba9876543211"),
                      identity=USER)]
    assert [len(group) for group in report.causes(lost)] == [3, 1]


def test_an_option_that_is_lacking_is_to_be_mended_unless_that_was_said():
    found = [result_of(name, Outcome.LACKING, NOTHING, "it has no --init")
             for name in ("init_is_pid_1", "init_reaps_orphans")]
    assert [len(group) for group in report.causes(found)] == [2]
    assert "n/a: it has no --init" in found[0].explain()
    said = [result_of("init_is_pid_1", Outcome.LACKING, "", "it has no --init")]
    assert report.causes(said) == [] and report.skips(said) == "n/a: it has no --init (1): 1 cases"


def test_another_mistake_is_told_where_that_of_the_row_is_not_likely():
    text = judged(lambda look: violated("bad", "it dies"), PROMISE, RAN).explain()
    assert "mistake    it dies" in text


def test_the_end_of_the_output_is_told_as_it_was_written():
    got = ("'no', exit status 1, stderr ends with \"it's\\nno\\n\", stdout ends with"
           " '(400 characters) ...half a line\\n a\\n'")
    told = result_of("env_option_works", got=got).explain()
    assert ("got        'no', exit status 1\nstderr     it's\n           no\nstdout      a\n"
            in told)


def test_what_else_has_the_cause_is_named_once():
    lost = [result_of(name, got=name, identity=identity) for name in (
        "own_ipc_namespace", "sysv_ipc_is_hidden") for identity in (ROOT, USER)]
    assert report.failures(lost).endswith("\nso too     sysv_ipc_is_hidden")
    assert report.failures(lost[:2]).endswith("\nso too     the same if an ordinary user starts it")


def test_what_is_left_by_many_starts_is_told_once():
    leaks = [f"mounts: new: 0:{number} /tmp/box-{number:012x}/proc (in the scene {scene})"
             for number, scene in enumerate(("inside", "terminal"))] + ["links: new: br0"]
    assert told_once(leaks) == f"{leaks[1]}; links: new: br0; and 1 more"


def test_what_never_ran_is_told_without_a_mistake_that_is_not_likely():
    told = result_of("env_option_works", got=NOTHING).explain()
    assert "mistake" not in told and "lesson" not in told and "try " in told
    assert "mistake" in result_of("env_option_works").explain()


@pytest.mark.parametrize("stderr, last", [
    ("one\ntwo: no such file\n", "two: no such file"),
    ("x.sh: line 7: syntax error near `done'\nx.sh: line 7: `done'\n",
     "x.sh: line 7: syntax error near `done'"),
    ("my: mount: Operation not permitted\nhint: as root", "my: mount: Operation not permitted"),
    ("Traceback (most recent call last):\n  File x\nOSError: [Errno 1]\n", "OSError: [Errno 1]"),
    ("panic: no root\n\ngoroutine 1 [running]:\nmain.main()\n\t/x/main.go:9 +0x1\nexit status 2",
     "panic: no root"),
    ("thread 'main' panicked\nnote: run with `RUST_BACKTRACE=1`", "thread 'main' panicked"),
    ("", ""),
])
def test_the_line_that_says_why_is_told_first(stderr, last):
    assert last_error(stderr) == last
    run = {"why": "ended", "over": True, "exit": 1, "stdout": "", "stderr": stderr}
    assert tell_run(run).startswith(repr(last) if last else "exit status 1")


def test_the_command_to_paste_has_a_root_where_the_stage_needs_one():
    row_ = BY_NAME["env_option_works"]
    commands = {stage: command_of(Case(row_, stage, "my", "my", ROOT, PROMISE))
                for stage in ("01", "05")}
    assert commands == {"01": "my -e A=1 -- /bin/sh -c 'echo $A'",
                        "05": "my --rootfs $ROOT -e A=1 -- /bin/sh -c 'echo $A'"}


def test_of_a_long_output_the_end_is_told():
    run = {"why": "ended", "over": True, "exit": 0, "stdout": "x" * 10000 + "end", "stderr": ""}
    assert "xend'" in tell_run(run)


def test_a_long_output_is_cut():
    run = {"why": "ended", "over": True, "exit": 0, "stdout": "x" * 10000, "stderr": ""}
    assert len(tell_run(run)) < 500


@pytest.mark.parametrize("state, left", [("S", ["process: new: program"]), ("R", []), ("D", [])])
def test_what_is_at_work_when_the_program_has_ended_gets_time_to_end(state, left):
    """A process that ends after four times the patience that a sleeping one gets."""
    end = time.monotonic() + 0.2

    def processes():
        there = [{"argv": ["program"], "name": "program", "pid": 3, "ppid": 1,
                  "state": state},
                 {"argv": ["helper"], "name": "helper", "pid": 2, "ppid": 1, "state": "S"},
                 {"argv": ["its child"], "name": "child", "pid": 4, "ppid": 2, "state": "S"},
                 {"argv": ["ended"], "name": "ended", "pid": 5, "ppid": 1, "state": "Z"}]
        return there[time.monotonic() > end:]
    stage = types.SimpleNamespace(agent=types.SimpleNamespace(processes=processes),
                                  helpers={2}, seconds=lambda some: some / 20)
    assert Stage.left_processes(stage) == left
