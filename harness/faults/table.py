"""The results as tables for README.md, and as a list of the cases that need a closer look."""

from __future__ import annotations

import collections
import pathlib
from typing import Counter, Iterable, List, Sequence, Tuple

from harness.faults.case import Record
from harness.faults.classify import COLUMNS, GOOD, wrong_message
from harness.faults.configurations import CONFIGURATIONS
from harness.faults.faults import FAIL, KILL, KILL_OTHER, RESTART, RETURN
from harness.faults.results import Table
from harness.faults.surroundings import GROUPS

BEGIN, END = "<!-- begin: written by --table -->", "<!-- end -->"
TITLES = ((FAIL, "One call fails"), (RETURN, "One call moves fewer bytes"),
          (KILL, "The parent is killed"), (KILL_OTHER, "Another process is killed"),
          (RESTART, "The parent is killed, and the next start comes at once"))


def tables(table: Table) -> str:
    """All of them, as Markdown."""
    texts = [one_table(title, [(name, cells) for (kind, name), cells in sorted(table.items())
                               if kind == wanted]) for wanted, title in TITLES]
    groups: List[Tuple[str, Counter[str]]] = []
    for group in GROUPS:
        total: Counter[str] = collections.Counter()
        for (kind, name), cells in table.items():
            if kind == group and name[0].isdigit():
                total.update(cells)
        groups.append((group, total))
    texts.append(one_table("Scarce resources and odd surroundings", groups))
    return "\n".join(text for text in texts if text)


def one_table(title: str, rows: Sequence[Tuple[str, Counter[str]]]) -> str:
    rows = [(name, cells) for name, cells in rows if cells]
    if not rows:
        return ""
    stages: Counter[str] = collections.Counter()
    for name, cells in rows:
        if name[0].isdigit():
            stages.update(cells)
    if stages:
        rows = [*rows, ("**all stages**", stages)]
    columns = ["cases"] + [column for column in COLUMNS if any(cells[column] for _, cells in rows)]
    lines = [f"### {title}", "", "| | " + " | ".join(columns) + " |",
             "|---|" + "---:|" * len(columns)]
    lines += [f"| {name} | " + " | ".join(str(cells[column] or "") for column in columns) + " |"
              for name, cells in rows]
    return "\n".join(lines) + "\n"


def write_into(readme: pathlib.Path, text: str) -> None:
    """Between the markers."""
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{readme} has no lines {BEGIN} and {END}")
    readme.write_text(f"{before}{BEGIN}\n\n{text}\n{END}{after}")


def bad_cases(found: Iterable[Tuple[str, Record]]) -> List[Tuple[str, Record]]:
    """Those of the stages: bubblewrap and crun are there for comparison."""
    return [(verdict, record) for verdict, record in found
            if verdict not in GOOD and CONFIGURATIONS[record.configuration].is_stage]


def doubtful_lines(bad: Iterable[Tuple[str, Record]], most: int = 20) -> Iterable[str]:
    """The bad cases, verdict by verdict, each with the command that tries it again."""
    by_verdict = collections.defaultdict(list)
    for verdict, record in bad:
        by_verdict[verdict].append(record)
    for verdict, records in sorted(by_verdict.items(), key=lambda one: COLUMNS.index(one[0])):
        yield f"{verdict}: {len(records)}"
        for record in records[:most]:
            yield f"  {reproduce(record)}"
            yield f"      {record.call or record.case}: {what_happened(record)}"
        if len(records) > most:
            yield f"  and {len(records) - most} more"


def reproduce(record: Record) -> str:
    return (f"bazel run //harness/faults -- --configuration {record.configuration}"
            f" --kind {record.kind!r} --case '{record.case}'")


def what_happened(record: Record) -> str:
    end = f"signal {record.signal}" if record.signal is not None else f"exit {record.exit}"
    parts = ["hangs" if record.hung else end]
    parts += ["the command ran"] if record.ran else []
    parts += [repr(record.stderr[-200:])] if record.stderr else []
    wrong = wrong_message(record)
    parts += [wrong] if wrong and record.exit in (125, 126, 127) else []
    parts += [f"{key}: {before[:80]!r} -> {after[:80]!r}"
              for key, (before, after) in list(record.changes.items())[:3]]
    for what, lines in (("left", record.left), ("processes left", record.left_processes),
                        ("alive", record.alive), ("left for good", record.left_for_good)):
        parts += [f"{what}: {', '.join(lines)[:200]}"] if lines else []
    if record.next_exit not in (None, 42):
        parts.append(f"the next start: {record.next_exit} {record.next_stderr[-150:]!r}")
    return "; ".join(parts)
