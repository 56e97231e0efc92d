"""Writes TASK.md."""

from __future__ import annotations

import pathlib
import re
from typing import Dict, List

from harness.grading import report
from harness.learning.task import (COMMON_TOOLS, TOOLS, Milestone, Task, rows_of,
                                   rows_of_milestone)
from harness.properties.model import Property
from harness.properties.verdict import ROOT, USER

TEXT = """\
# Your task: stage {stage}

**{goal}**

The lesson is the stage's page, {page}.
This folder holds the earlier stages as they are, and of this stage the headers, the options and
whatever is not the lesson. What you write is marked `TODO`:

    grep -n TODO {own}/*

{todos}

`main.cc` does what the stage before did. Each TODO there says what is called at that line, and why
there: the order is the lesson. One without a milestone belongs to the first.

    ./check                  builds, and shows the next milestone that is red, and one of its rows
    ./check --all            shows all milestones
    ./check --hints 3        says more about that row: where to look, the idea, what to read
    ./check --watch          checks each time that you save
{as_root}
After `look:`, ./check prints a command that shows you the same. `$ROOT` in it is a root directory,
which you make once:

    {make_root}

Undo: `diff -r given {own}` shows what you have changed;
`cp given/FILE {own}/` takes it back. When you are done, compare with our own way:
{repository}/{own}

## How it is called, and what is expected

```console
{examples}
```

{options}
The exit status is the command's own; 128+n when signal n ended it; 125 when the container could not
be set up, 126 when the command cannot be executed, 127 when it is not found. An error is one line
on stderr, perhaps followed by one that begins with `hint:`.

## The toolkit

| | |
|---|---|
{toolkit}

The comments in the headers say which process calls what: "In the parent", "In the child".

## Milestones

In this order: each builds on the one above it.

{milestones}
## What to read

{pages}
"""


def task_text(task: Task, own: str, options: str, repository: pathlib.Path) -> str:
    """`own`: the stage's folder in the learner's. `options`: those that the stage adds."""
    names = sorted({f"`{todo.file}`" for todo in task.todos})
    tools = [*COMMON_TOOLS, *task.toolkit]
    assert len(tools) == TOOLS, f"{task.stage}: {len(tools)} lines in the toolkit"
    return TEXT.format(
        stage=task.stage, goal=task.goal, own=own, repository=repository,
        page=f"{repository}/{own}/README.md",
        todos=f"{len(task.todos)} functions in {', '.join(names)}.",
        as_root=as_root(task), make_root="\n    ".join(report.MAKE_ROOT),
        examples="\n".join(f"$ {example.line}\n{example.prints}" for example in task.examples),
        options=options_text(options),
        toolkit="\n".join(f"| `{name}` | {what} |".replace("||", "\\|\\|")
                          for name, what in tools),
        milestones="\n".join(milestone_text(task, number, milestone)
                             for number, milestone in enumerate(task.milestones, 1)),
        pages=pages(task.stage))


def as_root(task: Task) -> str:
    """Where what an ordinary user can see is not all."""
    rows = rows_of(task.stage)
    if all(ROOT in row.identities and USER in row.identities for row in rows) and \
            task.stage not in ("02", "03", "04"):
        return ""
    return "    sudo ./check             also tests what only root can show; or ./check --in vm\n"


def options_text(options: str) -> str:
    if not options:
        return "The stage adds no option.\n"
    return f"The options that it adds, which are read for you:\n\n```\n{options}\n```\n"


def new_options(now: str, before: str) -> str:
    """The lines of one --help about options that another --help does not have."""
    known = set(options_in(before))
    return "\n".join(text for name, text in options_in(now).items() if name not in known)


def options_in(text: str) -> Dict[str, str]:
    """Each option with its lines, by its names."""
    found: Dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if match := re.match(r"  (-[^ ]+)", line):
            name = match.group(1)
            found[name] = line
        elif name and line.startswith("     "):
            found[name] += "\n" + line
        else:
            name = ""
    return found


def row_text(row: Property) -> str:
    said = ROOT in row.identities or "ordinary user" in row.holds
    return f"- `{row.name}`: {row.holds}" + ("" if said else " (started by an ordinary user)")


def milestone_text(task: Task, number: int, milestone: Milestone) -> str:
    functions = [f"`{todo.function}`" for todo in task.todos if todo.milestone == number]
    lines = [f"### {number}. {milestone.title} ({milestone.kind})", ""]
    if functions:
        lines += [f"To write: {', '.join(functions)}.", ""]
    return "\n".join(lines + [row_text(row) for row in rows_of_milestone(task, milestone)]) + "\n"


def pages(stage: str) -> str:
    """The man pages of its rows, each with the rows that name it."""
    found: Dict[str, List[str]] = {}
    for row in rows_of(stage):
        section, name = row.man.split()
        found.setdefault(f"{name}({section})", []).append(row.name)
    return "\n".join(f"- {page}: {', '.join(names)}" for page, names in sorted(found.items()))
