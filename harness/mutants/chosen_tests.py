"""A plugin of pytest: the tests in the order in which they are likely to fail, and their times.

MUTANT_TESTS names a JSON file: {"only": tests}, or {"order": tests, "leave_out": tests}, where
tests that are in neither come first: new ones have mostly been written for a survivor.
What became of each is appended to the file MUTANT_OUTCOMES, a line of JSON each.
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import Dict, List

import pytest

BUSY = 4  # times as slow as alone


def pytest_collection_modifyitems(config: pytest.Config, items: List[pytest.Item]) -> None:
    chosen = json.loads(pathlib.Path(os.environ["MUTANT_TESTS"]).read_text(encoding="utf-8"))
    rank: Dict[str, int] = {name: at for at, name in enumerate(chosen.get("order", []))}

    def is_wanted(name: str) -> bool:
        return name in chosen["only"] if "only" in chosen else name not in chosen["leave_out"]
    config.hook.pytest_deselected(items=[item for item in items if not is_wanted(item.nodeid)])
    items[:] = sorted((item for item in items if is_wanted(item.nodeid)),
                      key=lambda item: rank.get(item.nodeid, -1))


def used() -> float:
    """Seconds of CPU time, ours and those of the programs that have ended."""
    return sum(os.times()[:4])


counted = [used()]  # until the last report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    cpu, counted[0] = used() - counted[0], used()
    # What a test waits for counts less, because on a busy machine it mostly waits for a CPU.
    seconds = max(cpu, report.duration / BUSY)
    with open(os.environ["MUTANT_OUTCOMES"], "a", encoding="utf-8") as outcomes:
        outcomes.write(json.dumps({"test": report.nodeid, "outcome": report.outcome,
                                   "seconds": seconds}) + "\n")
