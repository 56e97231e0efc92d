"""One stage: its promises, and proof that those that it introduces can be broken."""

from __future__ import annotations

import os
from typing import Dict, List

import pytest

from harness.grading.grader import Program, cases_of_stage
from harness.properties.model import Case, Outcome, Result
from harness.properties.table import PROPERTIES


def program(variable: str) -> Program:
    path = os.environ[variable]
    return Program.of(path, os.path.basename(path))


def cases() -> List[Case]:
    return cases_of_stage(program("HARNESS_STAGE"), program("HARNESS_STAGE_BEFORE"), PROPERTIES)


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_property(case: Case, results: Dict[str, Result]) -> None:
    result = results[case.id]
    print(f"expected: {result.expected}\ngot: {result.got}")
    if result.outcome is Outcome.SKIPPED:
        pytest.skip(result.why)
    if result.outcome is not Outcome.PASSED:
        pytest.fail(result.explain(), pytrace=False)
