"""Writes harness/INSTRUCTOR.md: `bazel run //harness:instructor`.

Its times come from the deck, its demonstrations and solutions from the pages, its mistakes from the
mutants (`why` people make them) and the rows (`mistake`). So it says what is tested.
"""

from __future__ import annotations

import os
import pathlib
import re
import sys
from typing import Dict, Iterator, List, Sequence, Tuple

from harness.learning.task import Task, rows_of, rows_of_milestone
from harness.learning.tasks.table import TASKS
from harness.mutants import table as mutants
from harness.mutants.table import Mutant
from harness.properties.table import BY_NAME
from slides import deck, transcript

PAGE = "harness/INSTRUCTOR.md"
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.DOTALL | re.MULTILINE)
EXERCISE = re.compile(r"^\d+\. (?P<question>.*?)\n   Check: (?P<check>.*?)\n\n"
                      r"   <details><summary>Answer</summary>\n\n(?P<answer>.*?)\n   </details>",
                      re.DOTALL | re.MULTILINE)

HEAD = """\
<!-- `bazel run //harness:instructor` writes this from the deck, pages, rows and mutants. -->
# For the instructor

- [Before the class](#before-the-class): what to prepare; demonstrations for root or two terminals
- [The plan](#the-plan): 45, 90 and 180 minutes, with exercises, and what to skip if you are late
- [Stage by stage](#stage-by-stage): answers, typical mistakes, and what people say

## Before the class

The day before, on each machine that will be used:

```sh
./setup.sh                               # packages; needs the network
bazel build //... && bazel build //slides
bazel run //harness/vm -- true           # makes the virtual machine's disk; needs the network
bazel run //harness:preflight            # tries all that a class needs, and says what is missing
```

After that, nothing needs the network: try it once with the network off. What a machine of an
attendee lacks, the virtual machine has: root, cgroup v2 and all stages in `PATH`, on any Linux.
`bazel run //harness/vm` starts it; `bazel run //harness/vm -- --join` opens a second shell in it.
Without KVM its first start takes about a minute. On the machine itself, stages 02 to 04 need root:
with `bazel run --config=root`, sudo asks for a password.

### Demonstrations that need more than one ordinary shell

Everything else runs as an ordinary user, in one terminal.

| where | root | two terminals |
|---|---|---|
"""

PLAN = """
## The plan

The minutes are those of the deck's notes. What a track does not show is on the pages. The rest of
the time is for questions and typing.
"""

STAGES = """
## Stage by stage

*Why people make it* is the explanation that you will hear; *what to say* corrects it. A test builds
each of these mistakes into our own stage, and checks that the row in the last column catches it. To
show one, build its program, such as `bazel build
//harness/mutants:05_userns-uid_and_gid_maps_swapped`. The number before a row is the milestone of
`bazel run //harness:start` that needs it.
"""


def on_one_line(markdown: str) -> str:
    """For a cell of a table, or a line of a list: no links, as they lead from another page."""
    text = re.sub(r"\[([^]]+)\](?:\([^)]*\))?", r"\1", " ".join(markdown.split()))
    return text.replace("|", "\\|").replace("\\\\|", "\\|")


# --- Before the class -----------------------------------------------------------------------------


def needs_of(block: str) -> Tuple[bool, bool]:
    """Whether typing this needs root of the host; and two terminals, because one is still in a
    container when the other types on the host."""
    root, two, inside = False, False, False
    try:
        steps = transcript.parse(block.splitlines())
    except ValueError:
        return False, False
    for one in steps:
        on_host = one.who == transcript.HOST
        root = root or (on_host and one.is_root)
        two = two or (on_host and inside)
        inside = not on_host and one.command[0] != "exit"
    return root, two


def demonstrations(root: pathlib.Path) -> Iterator[str]:
    """A line of the table for each page, and each slide, that needs something."""
    for task in TASKS.values():
        folder = next((root / "stages").glob(f"{task.stage}_*"))
        text = (folder / "README.md").read_text(encoding="utf-8")
        sections = re.split(r"^## (.*)$", text, flags=re.MULTILINE)
        found: Tuple[List[str], List[str]] = [], []
        for title, section in zip(sections[1::2], sections[2::2]):
            needs = [needs_of(block) for block in CONSOLE.findall(section)]
            for at in (0, 1):
                if any(need[at] for need in needs):
                    found[at].append(title)
        if any(found):
            yield (f"| [{folder.name}](../stages/{folder.name}/README.md) | {', '.join(found[0])} "
                   f"| {', '.join(found[1])} |")
    for number, title, needs in slides_with_needs(root):
        root_cell, two_cell = ("yes" if need else "" for need in needs)
        yield f"| slide {number}, {title} | {root_cell} | {two_cell} |"


def slides_with_needs(root: pathlib.Path) -> Iterator[Tuple[int, str, Tuple[bool, bool]]]:
    for slide in deck.slides(deck_of(root)):
        needs = [needs_of(block) for block in CONSOLE.findall(slide.text)]
        both = any(need[0] for need in needs), any(need[1] for need in needs)
        if any(both):
            yield slide.number, on_one_line(slide.title), both


def deck_of(root: pathlib.Path) -> str:
    return (root / "slides/deck.md").read_text(encoding="utf-8")


# --- The plan -------------------------------------------------------------------------------------


def clock(minutes: float) -> str:
    return f"{int(minutes) // 60}:{int(minutes) % 60:02}"


def plan(slides: Sequence[deck.Slide], track: int) -> Iterator[str]:
    """A line for each group of slides of one stage, and for each pause."""
    minutes, pauses = deck.minutes_of(list(slides), track)
    skipped = minutes - deck.minutes_of(list(slides), track, skip=True)[0]
    yield f"### {track} minutes\n"
    yield (f"{minutes:g} minutes of slides, {pauses} of exercises and breaks,"
           f" {track - minutes - pauses:g} for questions"
           + (f"; skipping saves {skipped:g}" if skipped else "") + ".\n")
    yield "| at | | minutes | if you are late, skip |\n|---|---|---|---|"
    now = 0.0
    group: List[deck.Slide] = []
    shown = [slide for slide in slides if slide.is_in(track)]
    for at, slide in enumerate(shown):
        group.append(slide)
        here = [pause for pause in slide.pauses if track in pause.tracks]
        if here or at + 1 == len(shown) or shown[at + 1].stage != slide.stage:
            yield group_line(now, group)
            now += sum(one.minutes for one in group)
            group = []
        for pause in here:
            what = (f"**exercise** of [{pause.stage}](../stages/{pause.stage}/README.md#exercises)"
                    if pause.stage else "**break**")
            yield f"| {clock(now)} | {what} | {pause.minutes} | |"
            now += pause.minutes
    yield ""


def group_line(now: float, group: Sequence[deck.Slide]) -> str:
    numbers = spans([slide.number for slide in group])
    slides = "slide" if len(group) == 1 else "slides"
    late = "; ".join(f"{slide.number} {on_one_line(slide.title)}" for slide in group if slide.late)
    minutes = sum(slide.minutes for slide in group)
    name = group[0].stage or on_one_line(group[0].title)
    return f"| {clock(now)} | {name}, {slides} {numbers} | {minutes:g} | {late} |"


def spans(numbers: Sequence[int]) -> str:
    """"1 to 3, 7, 8": more than two neighbours are drawn together."""
    groups: List[List[int]] = []
    for number in numbers:
        if groups and number == groups[-1][-1] + 1:
            groups[-1].append(number)
        else:
            groups.append([number])
    return ", ".join(f"{one[0]} to {one[-1]}" if len(one) > 2 else ", ".join(map(str, one))
                     for one in groups)


# --- Stage by stage -------------------------------------------------------------------------------


def milestones_of(task: Task) -> Dict[str, int]:
    return {row.name: number for number, milestone in enumerate(task.milestones, 1)
            for row in rows_of_milestone(task, milestone) if row.since == task.stage}


def answers(page: str) -> Iterator[str]:
    exercises = page.partition("\n## Exercises\n")[2]  # lists elsewhere are numbered, too
    for number, one in enumerate(EXERCISE.finditer(exercises), 1):
        yield (f"{number}. {on_one_line(one['question'])}\n\n"
               f"   **Answer.** {on_one_line(one['answer'])}\n")


def mistake_line(mutant: Mutant, milestones: Dict[str, int]) -> str:
    row = BY_NAME[mutant.caught_by]
    number = f"{milestones[row.name]} " if row.name in milestones else ""
    cells = [mutant.name.replace("_", " "), mutant.why, row.lesson, f"{number}`{row.name}`"]
    return "| " + " | ".join(on_one_line(cell) for cell in cells) + " |"


def stage_text(task: Task, root: pathlib.Path) -> str:
    folder = next((root / "stages").glob(f"{task.stage}_*"))
    page = (folder / "README.md").read_text(encoding="utf-8")
    milestones = milestones_of(task)
    own = [one for one in mutants.load() if one.stage == folder.name]
    caught = {one.caught_by for one in own}
    lines = [f"### {folder.name}", "", f"{task.goal} Exercises with their checks are on [its page]"
             f"(../stages/{folder.name}/README.md#exercises).", "", *answers(page),
             "| mistake | why people make it | what to say | the row that catches it |",
             "|---|---|---|---|", *[mistake_line(one, milestones) for one in own], ""]
    others = [row for row in rows_of(task.stage) if row.name not in caught]
    if others:
        lines += ["Other likely mistakes, by the row that catches them, and what to say:", "",
                  *[f"- {milestones[row.name]} `{row.name}`: {on_one_line(row.mistake)}"
                    f" *{on_one_line(row.lesson)}*" for row in others], ""]
    return "\n".join(lines)


def page_text(root: pathlib.Path) -> str:
    slides = deck.slides(deck_of(root))
    text = HEAD + "\n".join(demonstrations(root)) + "\n" + PLAN + "\n"
    for track in deck.TRACKS:
        text += "\n".join(plan(slides, track)) + "\n"
    stages = "\n".join(stage_text(task, root) for task in TASKS.values())
    return text + STAGES.lstrip("\n") + "\n" + stages


def main() -> None:
    root = pathlib.Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    (root / PAGE).write_text(page_text(root), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
