"""A console block of a page: the commands, and their output.

    host:~$ 05_userns sh           an ordinary user; `host:~#` is root
    05_userns:/# id -u             in the container; `cont:/#` stands for any
    0
    host:~$ cat >file <<END        a line that goes on
    > more
    > END

What differs from run to run is written as `…`: in a line it stands for any text, alone in a line
for any number of lines.
"""

from __future__ import annotations

import dataclasses
import re
from typing import List, Sequence, Tuple

ANY = "…"
HOST, CONTAINER = "host", "cont"
PROMPT = re.compile(r"(?P<who>host|cont|\d\d[a-z]?_\w+):(?P<folder>[^\s:]*)(?P<sign>[$#])(?: |$)")
CONTINUED = "> "

# Text that differs between runs, unless the page has its own form of it.
VOLATILE = [(re.compile(pattern, re.ASCII), replacement) for pattern, replacement in (
    (r"\b(cgroup|ipc|mnt|net|pid|time|user|uts):\[\d+\]", r"\1:[…]"),
    (r"\bcopied \d+ files, \S+ \S+ in \S+ s$", "copied … files, … in … s"),
    (r"/proc/\d+", "/proc/…"), (r"/dev/pts/\d+", "/dev/pts/…"),
    (r"\bcontainers-under-the-hood-\d+\b", "containers-under-the-hood-…"),
    (r"\b(rootfs|userspace-\w+)-[0-9a-f]{16}\b", r"\1-…"),
    (r"\b((?:fork|clone3)\([^)]*\) = )\d+$", r"\1…"),
    (r"\b[0-9a-f]{2}(?::[0-9a-f]{2}){5}\b", "…"),
    (r"^\[(\d+)\] \d+$", r"[\1] …"),
    (r"\b(pid|PID) \d+", r"\1 …"),
    (r"\b(session-)\d+(\.scope)", r"\1…\2"),
    (r"\b(real|user|sys)(\s+)[\dhms. ]+$", r"\1\2…"),
    (r"\b\d+(?:\.\d+)? (ms|s|seconds)\b", r"… \1"),
    (r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) [ \d]\d +(?:\d\d:\d\d|\d{4})\b", "…"),
    (r"\b\d{4}-\d\d-\d\d \d\d:\d\d(?::\d\d(?:\.\d+)?)?(?: [+-]\d{4})?", "…"),
    (r"\b\d\d:\d\d:\d\d\b", "…"),
    (r"\b0x[0-9a-f]{8,16}\b", "0x…"),
)]


@dataclasses.dataclass
class Step:
    """One command and its output."""

    prompt: str  # with its space
    command: List[str]  # further lines are those after `> `
    output: List[str]
    line: int  # in the block, from 0

    @property
    def who(self) -> str:
        return PROMPT.match(self.prompt)["who"]  # type: ignore[index]

    @property
    def is_root(self) -> bool:
        return self.prompt.rstrip().endswith("#")

    def text(self) -> List[str]:
        first, *more = self.command
        return [(self.prompt + first).rstrip(), *[(CONTINUED + line).rstrip() for line in more],
                *self.output]


def parse(lines: Sequence[str]) -> List[Step]:
    """Throws ValueError if it does not begin with a prompt."""
    steps: List[Step] = []
    for number, line in enumerate(lines):
        if prompt := PROMPT.match(line):
            shown = prompt.group().rstrip() + " "
            steps.append(Step(shown, [line[prompt.end():]], [], number))
        elif not steps:
            raise ValueError(f"begins with no prompt, such as host:~$ or host:~#: {line!r}")
        elif line.startswith(CONTINUED) and not steps[-1].output:
            steps[-1].command.append(line[len(CONTINUED):])
        else:
            steps[-1].output.append(line)
    return steps


def is_prompt(shown: str, written: str) -> bool:
    """Whether the prompt in the terminal is the one in the page."""
    return shown == written or (PROMPT.match(written)["who"] == CONTAINER  # type: ignore[index]
                                and not shown.startswith(HOST + ":")
                                and shown.partition(":")[2] == written.partition(":")[2])


def pattern(line: str) -> re.Pattern:
    return re.compile(".*".join(re.escape(part) for part in line.split(ANY)))


def normalised(line: str) -> str:
    """Without text that differs between runs."""
    for volatile, replacement in VOLATILE:
        line = volatile.sub(replacement, line)
    return line


def merge(written: Sequence[str], seen: Sequence[str]) -> List[str]:
    """The lines that tell what was seen, and keep of the written ones all that is still true.

    The cheapest way to turn one into the other: a line that still matches is kept as it is, `…`
    swallows any lines, but rather not one that could take a written line's place.
    """
    patterns = [None if line.strip() == ANY else pattern(line) for line in written]
    Cost = Tuple[float, Tuple]  # and the lines, linked backwards
    best: List[List[Cost]] = [[(0.0, ())] * (len(seen) + 1) for _ in range(len(written) + 1)]
    for i in range(len(written) + 1):
        for j in range(len(seen) + 1):
            ways: List[Cost] = []
            if i == j == 0:
                continue
            if j > 0:
                cost, lines = best[i][j - 1]
                ways.append((cost + 1.0, (lines, normalised(seen[j - 1]))))
                if i > 0 and patterns[i - 1] is None:
                    ways.append((cost + 0.01, lines))  # best[i] has the `…` already
            if i > 0:
                cost, lines = best[i - 1][j]
                if patterns[i - 1] is None:
                    ways.append((cost, (lines, written[i - 1])))
                else:
                    ways.append((cost + 1.0, lines))
            if i > 0 and j > 0 and (wanted := patterns[i - 1]) is not None:
                cost, lines = best[i - 1][j - 1]
                if wanted.fullmatch(seen[j - 1]):
                    ways.append((cost, (lines, written[i - 1])))
                else:
                    ways.append((cost + 1.0, (lines, normalised(seen[j - 1]))))
            best[i][j] = min(ways, key=lambda way: way[0])
    merged: List[str] = []
    rest = best[-1][-1][1]
    while rest:
        rest, line = rest
        merged.append(line)
    return merged[::-1]
