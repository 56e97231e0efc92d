"""The terminal's writer: failures, the matrix, a summary."""

from __future__ import annotations

import re
from typing import Dict, List, Sequence, Tuple

from harness.properties.model import CONTROL, Outcome, Result
from harness.properties.verdict import ROOT, USER

NO_OPTION = "--no-such-option"  # which no program has: it is there to be refused
UNPRINTABLE = "\N{REPLACEMENT CHARACTER}"

MARKS = {Outcome.PASSED: "+", Outcome.FAILED: "FAIL", Outcome.ERROR: "ERR", Outcome.SKIPPED: "skip",
         Outcome.LACKING: "n/a"}


def shown(text: str) -> str:
    """Makes untrusted text safe for a terminal: it cannot move the cursor or change the direction
    of writing, and can always be encoded."""
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
    """The failures, grouped by cause: a program that does not start, a row that needs another one,
    one row for both users."""
    failed = {(result.case.label, result.case.kind, result.case.property.name): result
              for result in reversed(results) if is_failure(result)}
    groups: List[List[Result]] = []
    group_of: Dict[Tuple[str, ...], List[Result]] = {}
    for result in results:
        if not is_failure(result):
            continue
        first = first_cause(result, failed)
        keys = [(first.case.label, first.case.kind, *key) for key in keys_of_cause(first)]
        group = next((group_of[key] for key in keys if key in group_of), None)
        if group is None:
            group = []
            groups.append(group)
        group_of.update({key: group for key in keys})
        group.append(result)
    for group in groups:  # the cause itself comes before its consequences
        group.sort(key=lambda result: first_cause(result, failed) is not result)
    return groups


def is_failure(result: Result) -> bool:
    """What a program was said to lack is listed, but is not a failure to fix: nothing was asked."""
    return result.is_bad and (result.outcome is not Outcome.LACKING or result.never_ran)


def first_cause(result: Result, failed: Dict[Tuple[str, str, str], Result]) -> Result:
    """The failure of a row that this one needs, and that of one which that needs."""
    case = result.case
    for name in case.property.needs:
        needed = failed.get((case.label, case.kind, name))
        if needed is not None:
            return first_cause(needed, failed)
    return failed[case.label, case.kind, case.property.name]


def keys_of_cause(result: Result) -> List[Tuple[str, ...]]:
    """A key that failures with the same cause share. For a start that failed: the program's
    message, without names and numbers that differ from start to start."""
    if not result.never_ran:
        return [(result.case.property.name,), (str(result.case.scene), result.why, result.got)]
    why = result.why.replace("unhindered, too: ", "").split(", stderr ends with")[0]
    return [(re.sub(r"[0-9a-f]{12}|[0-9]+", "N", why.split(", stdout ends with")[0]),)]


# Makes the root directory for the commands to paste.
MAKE_ROOT = (
    "ROOT=$(mktemp -d); chmod 755 $ROOT",
    "mkdir $ROOT/bin $ROOT/dev $ROOT/etc $ROOT/mnt $ROOT/proc $ROOT/run $ROOT/sys $ROOT/tmp",
    "cp /bin/busybox $ROOT/bin",
    "for a in $(busybox --list); do ln -s busybox $ROOT/bin/$a; done 2>/dev/null",
)
TO_TRY = "to try it   " + "; ".join(MAKE_ROOT)


def failures(results: Sequence[Result]) -> str:
    """Each failure; those with the same cause only once."""
    needs_root = any(result.is_bad and "$ROOT" in result.command for result in results)
    told = [TO_TRY] if needs_root else []
    for alike in causes(results):
        told.append(alike[0].explain() + so_too(alike[0], alike[1:]))
    return "\n\n".join(told)


def so_too(first: Result, others: Sequence[Result]) -> str:
    """What else has this cause: each property once, whichever user has started the program."""
    names = list(dict.fromkeys(result.case.property.name for result in others
                               if result.case.property.name != first.case.property.name))
    if len(names) < len(others) and not names:
        names = [f"the same {TO_WHOM[others[0].case.identity]}"]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"\nso too     {', '.join(names[:3])}{more}" if names else ""


TO_WHOM = {USER: "if an ordinary user starts it", ROOT: "if root starts it"}


def skips(results: Sequence[Result]) -> str:
    reasons: Dict[str, List[str]] = {}
    lacking: Dict[str, int] = {}
    for result in results:
        if result.outcome is Outcome.SKIPPED:
            reasons.setdefault(result.why, []).append(result.case.id)
        elif result.outcome is Outcome.LACKING and not result.never_ran:
            lacking[result.why] = lacking.get(result.why, 0) + 1
    told = [f"skipped: {why}: {len(ids)} cases, such as {ids[0]}" for why, ids in reasons.items()]
    if lacking:
        cases = sum(lacking.values())
        whys = ", ".join(f"{why.replace('it has no ', '')} ({count})"
                         for why, count in lacking.items() if not why.endswith(NO_OPTION))
        told.append(f"n/a: it has no {whys or 'options'}: {cases} cases")
    return "\n".join(told)


def report(results: Sequence[Result]) -> str:
    parts = [failures(results), skips(results), matrix(results), summary(results)]
    return shown("\n\n".join(part for part in parts if part))
