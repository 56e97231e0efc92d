"""Writes harness/ESCAPES.md: `bazel run //harness:escapes`."""

from __future__ import annotations

import os
import pathlib
import sys
from typing import List

from harness.escapes.classes import CLASSES, Escape
from harness.properties.model import Control, Property
from harness.properties.table import BY_NAME
from harness.properties.verdict import STAGES

PAGE = "harness/ESCAPES.md"

HEAD = """\
<!-- `bazel run //harness:escapes` writes this from harness/escapes/classes.py and the table. -->
# Published escapes, and what stops each

Each line is a class of escape that was published for some container tool and applies to a
container of this kind. *Since* is the first stage that stops it. *The attempt succeeds* says where
the same test was seen to succeed: a test that cannot fail proves nothing. A name such as
`second_chroot_leads_nowhere` is a row of the property table:

```sh
bazel run //harness:matrix -- --property second_chroot_leads_nowhere
```

What could harm a machine is tried in a virtual one (*VM*). [RED_TEAM.md](RED_TEAM.md) lists what
was tried beside these classes.

| class | attempt | stopped by | since | test | the attempt succeeds |
|---|---|---|---|---|---|
"""


def rows_of(escape: Escape) -> List[Property]:
    return [BY_NAME[name] for name in escape.rows]


def since(escape: Escape) -> str:
    """The first stage that keeps all of the class's rows; or that of the tests' folder."""
    stages = [row.since for row in rows_of(escape)]
    stages += [pathlib.PurePath(test).parts[1].split("_")[0] for test in escape.tests]
    return max(stages)


def success_of(row: Property) -> str:
    """Where the row was seen violated."""
    if row.control is Control.STAGE_BEFORE:
        return f"at {STAGES[STAGES.index(row.since) - 1]}: {row.violated}"
    if row.control is Control.OTHER_SCENE:
        return f"at {row.since}, asked for differently: {row.violated}"
    return f"at a changed {row.since}: {row.seen_failing}"


def line_of(escape: Escape) -> str:
    tests = [f"`{name}`" for name in escape.rows]
    tests += [f"[`{test.split('::')[1]}`](../{test.split('::')[0]})" for test in escape.tests]
    if escape.where:
        tests.append(escape.where)
    seen = [success_of(row) for row in rows_of(escape)] + ([escape.seen] if escape.seen else [])
    cells = [escape.name, escape.attempt, escape.layer, since(escape), "<br>".join(tests),
             "<br>".join(dict.fromkeys(seen))]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def page() -> str:
    return HEAD + "".join(line_of(escape) for escape in CLASSES)


def main() -> None:
    checkout = os.environ.get("BUILD_WORKSPACE_DIRECTORY", ".")
    pathlib.Path(checkout, PAGE).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
