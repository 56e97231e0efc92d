"""Writes a mutant's source: the original with the changes that its stage's table names.

Usage: python3 -m harness.mutants.mutate MUTANT FILE > MUTATED
"""

from __future__ import annotations

import pathlib
import sys

from harness.mutants.table import Mutant, load


def mutate(mutant: Mutant, file: str, text: str) -> str:
    """Applies all changes to `file`. What a change replaces has to be there, and only once."""
    for change in mutant.changes:
        if change.file != file:
            continue
        count = text.count(change.old)
        if count != 1:
            sys.exit(f"harness/mutants: {mutant.name}: {file} has this {count} times,"
                     f" not once; has the stage changed?\n\n{change.old}\n")
        text = text.replace(change.old, change.new)
    return text


def main(name: str, file: str) -> None:
    mutant = next(mutant for mutant in load() if mutant.name == name)
    text = pathlib.Path(file).read_text(encoding="utf-8")
    sys.stdout.write(f"// Made from {file} by harness/mutants: {mutant.why}\n")
    sys.stdout.write(mutate(mutant, file, text))


if __name__ == "__main__":
    main(*sys.argv[1:])
