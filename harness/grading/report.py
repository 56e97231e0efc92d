"""The terminal's writer: failures, the matrix, a summary."""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

from harness.properties.model import CONTROL, Outcome, Result
from harness.properties.verdict import USER

UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"

MARKS = {Outcome.PASSED: "+", Outcome.FAILED: "FAIL", Outcome.ERROR: "ERR", Outcome.SKIPPED: "skip",
         Outcome.LACKING: "n/a"}


def shown(text: str) -> str:
    """What a submission may have chosen, for a terminal: nothing of it moves the cursor, changes
    the direction of writing, or cannot be encoded."""
    return "".join(letter if letter.isprintable() or letter in "\t\n" else UNPRINTABLE
                   for letter in text)


def on_one_line(text: str) -> str:
    return shown(text).replace("\n", UNPRINTABLE)


def column_of(result: Result) -> str:
    return result.case.stage + ("u" if result.case.identity == USER else "")


def mark_of(result: Result) -> str:
    """A control that was seen violated is a minus sign: what the matrix shows there is a leak."""
    if result.case.kind == CONTROL and result.outcome is Outcome.PASSED:
        return "-"
    return MARKS[result.outcome]


def matrix(results: Sequence[Result]) -> str:
    """Stages across, properties down."""
    columns = sorted({column_of(result) for result in results})
    rows: Dict[str, Dict[str, List[str]]] = {}
    for result in results:
        cells = rows.setdefault(result.case.property.name, {})
        cells.setdefault(column_of(result), []).append(mark_of(result))
    width = max([len(name) for name in rows] + [8])
    lines = [" " * width + "  " + " ".join(f"{column:>5}" for column in columns)]
    for name, cells in rows.items():
        marks = ["/".join(sorted(set(cells.get(column, [])), key="+-".find)) for column in columns]
        lines.append(f"{name:<{width}}  " + " ".join(f"{mark:>5}" for mark in marks).rstrip())
    lines.append("")
    lines.append("+ holds   - seen violated, as it must be at this stage   u started by an ordinary"
                 " user   n/a it has no such option")
    return "\n".join(lines)


def summary(results: Sequence[Result]) -> str:
    counts = {outcome: sum(result.outcome is outcome for result in results) for outcome in Outcome}
    points = sum(result.points for result in results)
    most = sum(result.case.property.points for result in results if result.case.kind != CONTROL)
    told = ", ".join(f"{count} {outcome.value}" for outcome, count in counts.items() if count)
    places = sorted({result.place for result in results} - {"host"})
    where = [f"{sum(result.place == place for result in results)} of them in {place}"
             for place in places]
    return "; ".join([f"{len(results)} cases: {told or 'none'}", *where,
                      f"{points} of {most} points"])


def causes(results: Sequence[Result]) -> List[List[Result]]:
    """The failures; those of one start that failed for one reason together."""
    groups: Dict[Tuple[str, str, str], List[Result]] = {}
    for result in results:
        if result.is_bad:
            start = f"{result.case.label} {result.case.identity} {result.case.scene}"
            groups.setdefault((start, result.why, result.got), []).append(result)
    return list(groups.values())


def failures(results: Sequence[Result]) -> str:
    """Each failure; where a whole start failed for one reason, only once."""
    told = []
    for alike in causes(results):
        names = [result.case.id for result in alike[1:]]
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        told.append(alike[0].explain()
                    + (f"\nso too     {', '.join(names[:3])}{more}" if names else ""))
    return "\n\n".join(told)


def skips(results: Sequence[Result]) -> str:
    reasons: Dict[str, List[str]] = {}
    for result in results:
        if result.outcome is Outcome.SKIPPED:
            reasons.setdefault(result.why, []).append(result.case.id)
    return "\n".join(f"skipped: {why}: {len(ids)} cases, such as {ids[0]}"
                     for why, ids in reasons.items())


def report(results: Sequence[Result]) -> str:
    parts = [failures(results), skips(results), matrix(results), summary(results)]
    return shown("\n\n".join(part for part in parts if part))
