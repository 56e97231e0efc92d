"""Shows what a benchmark measured, and keeps it for the slides."""

from __future__ import annotations

import datetime
import json
import os
import pathlib
import shlex
import sys
from typing import Any, List, Optional, Sequence


def machine() -> str:
    """The machine on which it was measured."""
    model = [line.partition(":")[2].strip() for line in
             pathlib.Path("/proc/cpuinfo").read_text().splitlines()
             if line.startswith("model name")]
    return f"{os.cpu_count()} x {model[0] if model else os.uname().machine}, Linux " \
           f"{os.uname().release.split('-')[0]}"


def keep(path: Optional[str], title: str, **measured: Any) -> None:
    """Writes the figures, and the command that measures them, to `path`, relative to the user's
    directory."""
    if path is None:
        return
    command = shlex.join([os.path.basename(sys.argv[0]).removesuffix(".py"), *sys.argv[1:]])
    file = pathlib.Path(os.environ.get("BUILD_WORKING_DIRECTORY", "."), path)
    file.write_text(json.dumps({
        "title": title,
        "command": f"bazel run //harness/benchmarks:{command.replace(' ', ' -- ', 1)}",
        "when": datetime.date.today().isoformat(),
        "machine": machine(),
        **measured,
    }, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def record(path: Optional[str], title: str, columns: Sequence[str],
           rows: List[Sequence[str]]) -> None:
    """Prints a table, its first column to the left, and keeps it."""
    widths = [max(len(row[i]) for row in [columns, *rows]) for i in range(len(columns))]
    for row in [columns, *rows]:
        print("  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(row, widths))).rstrip())
    keep(path, title, columns=list(columns), rows=[list(row) for row in rows])
