"""The lessons of the lab, made of the stages' pages: lessons.py OUT.json SEEN.json README.md...

A page's transcripts become steps, each with a command to run and what is expected; the text around
them is kept, as HTML. SEEN.json has, by a step's id, what is to be known of it in the lab: see
record.py.
"""

from __future__ import annotations

import html
import json
import pathlib
import re
import sys
from typing import Any, Dict, Iterator, List, Optional

from lab.exercises import EXERCISES
from slides import transcript

FENCE = re.compile(r"^\s*```(\w*)")
HIDDEN = re.compile(r"<!--\s*(before|not run):\s*(.*?)\s*-->")
COMMENT = re.compile(r"^\s*<!--.*-->\s*$")
# What is about writing and building the stage, for which the lab has no compiler.
LEFT_OUT = ("The system calls", "The order", "Write it yourself", "The code",
            "What changes in main.cc", "Exercises")
# What the pages use, and the lab's machine has not.
MISSING = {name: f"its machine has no {name}" for name in (
    "perl", "strace", "ldd", "curl", "python3", "debootstrap", "slirp4netns", "pasta")}
MISSING |= {words: "its ps is busybox's, which has no {}".format(words.split()[1]) for words in (
    "ps -C", "ps -p", "ps -e")}

Step = Dict[str, Any]


def inline(text: str) -> str:
    """Markdown within a line, as the pages use it. Links of the repository lose their address."""
    codes: List[str] = []

    def put_away(match: re.Match) -> str:
        codes.append(f"<code>{html.escape(match[2].strip() or match[2], quote=False)}</code>")
        return f"\0{len(codes) - 1}\0"

    text = re.sub(r"(`+)(.+?)\1", put_away, text)
    text = html.escape(text, quote=False)
    text = re.sub(r"!\[([^\]]*)\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^\]]+)\]\((https?://[^)]+)\)", r'<a href="\2" target="_blank">\1</a>', text)
    text = re.sub(r"\[([^\]]+)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\[([a-z_0-9]+\(\d\))\]", r"\1", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    text = re.sub(r"(?<![\w*])\*(?! )(.+?)\*", r"<em>\1</em>", text)
    return re.sub("\0(\\d+)\0", lambda match: codes[int(match[1])], text)


def block(lines: List[str]) -> str:
    """A paragraph, a list, a quotation, a table."""
    if lines[0].startswith("|"):
        rows = [[inline(cell.strip()) for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]
                for line in lines if not re.fullmatch(r"[|\s:-]+", line)]
        cells = ["".join(f"<td>{cell}</td>" for cell in row) for row in rows]
        return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"
    if lines[0].startswith("> "):
        return f"<blockquote>{inline(' '.join(line.lstrip('> ') for line in lines))}</blockquote>"
    if re.match(r"(-|\d+\.) ", lines[0]):
        items = re.split(r"\n(?=(?:-|\d+\.) )", "\n".join(lines))
        kind = "ul" if lines[0].startswith("-") else "ol"
        texts = [inline(re.sub(r"^(-|\d+\.) ", "", item).replace("\n", " ")) for item in items]
        return f"<{kind}>" + "".join(f"<li>{text}</li>" for text in texts) + f"</{kind}>"
    return f"<p>{inline(' '.join(line.strip() for line in lines))}</p>"


class Terminals:
    """Where each step is typed: what somebody does beside their open container, in their second
    terminal."""

    def __init__(self) -> None:
        self.open: Dict[str, str] = {}  # a container's name in its prompt -> its terminal
        self.last = "user"

    def of(self, step: transcript.Step, following: Optional[transcript.Step]) -> str:
        if step.who != transcript.HOST:
            where = self.open.get(step.who, self.last)
            if step.command == ["exit"]:
                self.open.pop(step.who, None)
            return where
        where = "root" if step.is_root else "user"
        self.last = where + "2" if where in self.open.values() else where
        if following and following.who not in (transcript.HOST, *self.open):
            self.open[following.who] = self.last
        return self.last


def steps_of(identity: str, lines: List[str], hidden: List[str], not_run: bool,
             seen: Dict[str, Any]) -> Iterator[Step]:
    terminals = Terminals()
    parsed = transcript.parse(lines)
    for number, step in enumerate(parsed):
        following = parsed[number + 1] if number + 1 < len(parsed) else None
        made: Step = {"id": f"{identity}.{number + 1}", "who": terminals.of(step, following),
                      "prompt": step.prompt, "command": step.command, "output": step.output}
        known = seen.get(made["id"], {})
        text = "\n".join(step.command)
        lacks = next((why for words, why in MISSING.items() if re.search(
            rf"(?<![\w.-]){re.escape(words)}(?!\w)", text)), None)
        if not_run:
            made["missing"] = "Not run here: it depends on another machine."
        elif lacks and "command" not in known:
            made["missing"] = f"Not in the lab: {lacks}."
        made.update(known)
        if number == 0 and hidden:
            made["before"] = hidden
        yield made


def lesson(page: pathlib.Path, seen: Dict[str, Any]) -> Dict[str, Any]:
    lines = page.read_text(encoding="utf-8").split("\n")
    title = lines[0].lstrip("# ")
    identity = title.split()[0]
    parts: List[Dict[str, Any]] = []
    hidden: List[str] = []
    rest: List[str] = []
    keep, not_run, blocks, number = True, False, 0, 1

    def flush() -> None:
        if rest and keep:
            parts.append({"html": block(list(rest))})
        rest.clear()

    while number < len(lines):
        line = lines[number]
        number += 1
        fence = FENCE.match(line)
        if fence:
            flush()
            end = next(i for i in range(number, len(lines)) if lines[i].strip() == "```")
            body, number = lines[number:end], end + 1
            if fence[1] == "console" and keep:
                blocks += 1
                steps = list(steps_of(f"{identity}.{blocks}", body, hidden, not_run, seen))
                parts.append({"steps": steps})
            elif keep and fence[1] != "cpp":
                parts.append({"html": f"<pre><code>{html.escape(chr(10).join(body))}</code></pre>"})
            hidden, not_run = [], False
        elif line.startswith("#"):
            flush()
            heading = line.lstrip("# ")
            keep = heading not in LEFT_OUT
            if keep:
                parts.append({"html": f"<h3>{inline(heading)}</h3>"})
        elif said := HIDDEN.search(line):
            hidden += [said[2]] if said[1] == "before" else []
            not_run = not_run or said[1] == "not run"
        elif COMMENT.match(line) or re.match(r"\[.*\]: |\[?[←→]", line):
            flush()
        elif not line.strip() or "<details>" in line or "</details>" in line:
            flush()
        elif re.match(r"^(\*\*Before this page|> \*\*Follow along|!\[)", line):
            flush()
            while number < len(lines) and lines[number].strip():
                number += 1
        else:
            rest.append(line)
    flush()
    made = {"id": identity, "title": title, "parts": parts}
    if exercise := EXERCISES.get(identity):
        made["exercise"] = {"task": inline(exercise.task), "answer": exercise.answer,
                            "why": inline(exercise.why)}
    return made


def main(out: str, seen: str, *pages: str) -> None:
    known = json.loads(pathlib.Path(seen).read_text(encoding="utf-8"))
    lessons = [lesson(pathlib.Path(page), known) for page in sorted(pages)]
    pathlib.Path(out).write_text(json.dumps(lessons, ensure_ascii=False, indent=1) + "\n",
                                 encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
