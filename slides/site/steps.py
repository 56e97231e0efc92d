"""Writes what each stage adds to the one before, and how main.cc changed, for the site."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys

from slides import step


def main(out: str) -> None:
    root = pathlib.Path(".").resolve()
    known = step.stages(root)
    steps = [dataclasses.asdict(step.step(root, before, after))
             for before, after in zip(known, known[1:])]
    pathlib.Path(out).write_text(json.dumps(steps), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
