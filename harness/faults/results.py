"""The results of a sweep: a file for each configuration and kind, with a line for each case.

A sweep that was interrupted goes on where it was, as long as the programs are the same."""

from __future__ import annotations

import collections
import hashlib
import json
import pathlib
from typing import Counter, Dict, Iterator, List, Tuple

from harness.faults.case import Record
from harness.faults.classify import MISSED, verdicts


class Results:
    """A folder of them, for a place: "host", "vm:6.1"."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def _path(self, configuration: str, kind: str) -> pathlib.Path:
        return self.folder / f"{configuration}.{kind.replace(' ', '-')}.jsonl"

    def done(self, configuration: str, kind: str, program: str) -> Dict[str, Record]:
        """By the cases' names. Results of another build of the program are thrown away."""
        path = self._path(configuration, kind)
        digest = digest_of(program)
        lines = path.read_text().splitlines() if path.exists() else []
        if not lines or json.loads(lines[0]) != {"program": digest}:
            path.write_text(json.dumps({"program": digest}) + "\n")
            return {}
        records = list(read(path))
        # The last line may be incomplete.
        path.write_text("\n".join([lines[0]] + [json.dumps(one.json()) for one in records]) + "\n")
        return {record.case: record for record in records}

    def add(self, record: Record) -> None:
        with open(self._path(record.configuration, record.kind), "a") as file:
            file.write(json.dumps(record.json()) + "\n")

    def records(self) -> Iterator[Record]:
        for path in sorted(self.folder.glob("*.jsonl")):
            yield from read(path)


def read(path: pathlib.Path) -> Iterator[Record]:
    for line in path.read_text().splitlines()[1:]:
        try:
            yield Record.of_json(json.loads(line))
        except ValueError:  # cut off, as by a power failure
            continue


def digest_of(program: str) -> str:
    return hashlib.sha256(pathlib.Path(program).read_bytes()).hexdigest()[:16]


Table = Dict[Tuple[str, str], Counter[str]]  # (kind, configuration): how many of each verdict


def count(records: Iterator[Record]) -> Tuple[Table, List[Tuple[str, Record]]]:
    """The table, and the cases that need a closer look, each with its verdict."""
    table: Table = collections.defaultdict(collections.Counter)
    doubtful: List[Tuple[str, Record]] = []
    for record in records:
        found = verdicts(record)
        if found == [MISSED]:
            continue
        cell = table[record.kind, record.configuration]
        cell["cases"] += 1
        cell.update(found)
        doubtful += [(verdict, record) for verdict in found]
    return table, doubtful
