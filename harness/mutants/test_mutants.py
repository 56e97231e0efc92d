"""Each mutant is caught by the row meant for it, and by no other but those that it names."""

from __future__ import annotations

import os
from typing import Dict, List

import pytest

from harness.grading import report
from harness.agent_client import Place
from harness.grading.grader import Grader, Program, cases_for, grade_in, grade_skipped
from harness.properties.model import PROMISE, Outcome, Property, Result
from harness.properties.scene import Tools
from harness.properties.table import BY_NAME, PROPERTIES
from harness.properties.verdict import ROOT
from harness.mutants.table import Mutant, load

MUTANTS = load()
FEWEST = 30


def programs() -> Dict[str, str]:
    """The mutants that Bazel has built, by name."""
    paths = os.environ["HARNESS_MUTANTS"].split()
    return {os.path.basename(path).partition("-")[2]: path for path in paths}


def names_with(results: List[Result], *outcomes: Outcome) -> List[str]:
    return sorted({result.case.property.name for result in results if result.outcome in outcomes})


def rows_with_verdict(results: List[Result]) -> List[str]:
    return names_with(results, Outcome.PASSED, Outcome.FAILED, Outcome.ERROR)


def rows_for(mutant: Mutant, all_rows: bool) -> List[Property]:
    """Its own rows, and those of its stage. Those of all earlier stages would be most of the time
    of `bazel test //...`: with --test_arg=--all-rows they are looked at, too."""
    since = mutant.stage.partition("_")[0]
    return [row for row in PROPERTIES
            if all_rows or row.since >= since or row.name in (mutant.caught_by, *mutant.also)]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.id)
def test_mutant(mutant: Mutant, tools: Tools, where: List[Place],
                pytestconfig: pytest.Config) -> None:
    if os.geteuid() != 0:
        pytest.skip("its rows are listed for root and user: bazel test --config=root //...")
    program = Program.of(programs()[mutant.name], mutant.stage)
    rows = rows_for(mutant, pytestconfig.getoption("--all-rows"))
    results = grade_in(where[:1], tools, cases_for(program, rows, PROMISE))
    if mutant.caught_by not in rows_with_verdict(results):
        # Only its own rows, and as root, because the cases that this host skips would take a
        # virtual machine a minute for each mutant. With --test_arg=--in=vm all of them are looked
        # at.
        own = {mutant.caught_by, *mutant.also}
        results = [result for result in results if result.outcome is not Outcome.SKIPPED
                   or (result.case.property.name in own and result.case.identity == ROOT)]
        for place in where[1:]:
            results = grade_skipped(results, Grader(tools, place=place))
    failed = names_with(results, Outcome.FAILED)
    broke = names_with(results, Outcome.ERROR)
    judged = rows_with_verdict(results)
    if mutant.caught_by not in judged:
        pytest.skip(f"this host cannot test {mutant.caught_by}")

    told = report.failures(results)
    print(f"{mutant.why}\nfailed: {', '.join(failed)}")
    assert mutant.caught_by in failed, f"not caught by {mutant.caught_by}\n{told}"
    assert not broke, f"no verdict of {broke}\n{told}"
    expected = {mutant.caught_by, *mutant.also} & set(judged)
    others = set(failed) - expected
    assert not others, f"also caught by {sorted(others)}\n{told}"
    silent = expected - set(failed)
    assert not silent, f"not caught by {sorted(silent)}, which `also` says"


def test_the_table_is_in_order() -> None:
    assert len(MUTANTS) >= FEWEST
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    assert {mutant.name for mutant in MUTANTS} == set(programs())
    for mutant in MUTANTS:
        for row in [mutant.caught_by, *mutant.also]:
            assert BY_NAME[row].is_promised_at(mutant.stage), f"{mutant.name}: {row}"
        assert bool(mutant.also) == bool(mutant.because), f"{mutant.name}: `also` needs a reason"
