"""Keeps what a page quotes equal to what it quotes: code, differences, transcripts, measurements.

  bazel run //slides:update                         brings what is out of date up to date
  bazel run //slides:update -- stages/05_userns/README.md
  bazel run //slides:update -- --no-run             all but the transcripts: needs no machine
  bazel test //slides:living_test                   shows what is out of date, and where

A page says above a block what it is: slides/README.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import json
import os
import pathlib
import re
import shlex
import sys
import textwrap
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Tuple

from harness.learning.tasks.table import TASKS
from slides import definitions, plot, step, transcript
from slides.terminal import Machine, TerminalError, machine

COMMENT = re.compile(r"^\s*<!--\s*(?P<kind>snippet|diff|table|plot|milestones|before|not run):\s*"
                     r"(?P<words>.*?)\s*-->\s*$")
FENCE = re.compile(r"^(?P<indent>\s*)(?P<ticks>```+)\s*(?P<language>[\w+-]*)\s*$")
LANGUAGES = {".c": "c", ".cc": "cpp", ".h": "cpp", ".py": "python", ".sh": "sh", ".json": "json"}
MADE = {"snippet": ("", *LANGUAGES.values()), "diff": ("diff",)}  # the languages of their fences
NUMBERED = re.compile(r"\d+\. ")
ELIDED = "…"
MEASURED = "slides/measured"
PICTURES = "slides/pictures"
MEASURED_LINE = ("*Measured ", "*Измерено ")
TRANSLATION = re.compile(r"(?P<original>.*)\.(?P<language>[a-z]{2})\.md")


class Wrong(Exception):
    """What a page asks for cannot be given. The text names the page and the line."""


@dataclasses.dataclass
class Block:
    """A directive and the lines that it stands for, lines[begin:end], which may be none yet."""

    page: str
    kind: str  # as in the comment, or "console"
    words: str
    line: int  # of the directive, or of the fence; from 1
    begin: int
    end: int
    before: List[str] = dataclasses.field(default_factory=list)  # commands that are not shown

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    def wrong(self, message: str, line: Optional[int] = None) -> Wrong:
        return Wrong(f"{self.page}:{line or self.line}: {message}")


def blocks(page: str, lines: Sequence[str]) -> Iterator[Block]:
    """Those of a page, in its order. Throws Wrong."""
    number, before, not_run = 0, [], False
    while number < len(lines):
        line = lines[number]
        if comment := COMMENT.match(line):
            kind, words = comment["kind"], comment["words"]
            if kind == "before":
                before.append(words)
            elif kind == "not run":
                not_run = True
                if not words:
                    raise Wrong(f"{page}:{number + 1}: not run: without a reason")
            else:
                block = Block(page, kind, words, number + 1, *extent(kind, lines, number + 1))
                yield block
                number = max(block.end, number + 1)
                continue
        elif fence := FENCE.match(line):
            end = end_of_fence(page, lines, number)
            if fence["language"] == "console" and not not_run:
                yield Block(page, "console", "", number + 1, number + 1, end - 1, before)
            before, not_run, number = [], False, end
            continue
        elif line.strip() and (before or not_run):
            raise Wrong(f"{page}:{number + 1}: a console block has to follow what is said of it")
        number += 1


def end_of_fence(page: str, lines: Sequence[str], begin: int) -> int:
    """After the line that closes the fence which begins here."""
    fence = FENCE.match(lines[begin])
    assert fence
    for number in range(begin + 1, len(lines)):
        if lines[number].strip() == fence["ticks"]:
            return number + 1
    raise Wrong(f"{page}:{begin + 1}: this block is never closed")


def extent(kind: str, lines: Sequence[str], begin: int) -> Tuple[int, int]:
    """What follows a directive and was made by it; blank lines before it stay."""
    first = begin
    while first < len(lines) and not lines[first].strip():
        first += 1
    if first == len(lines):
        return begin, begin
    fence = FENCE.match(lines[first])
    if fence and fence["language"] in MADE.get(kind, ()):
        for number in range(first + 1, len(lines)):
            if lines[number].strip() == fence["ticks"]:
                return first, number + 1
    if kind == "plot" and lines[first].startswith("!["):
        return first, first + 1
    if kind == "milestones" and lines[first].startswith("1. "):
        end = first
        while end < len(lines) and NUMBERED.match(lines[end]):
            end += 1
        return first, end
    if kind == "table" and lines[first].startswith("|"):
        end = first
        while end < len(lines) and lines[end].startswith("|"):
            end += 1
        if end + 1 < len(lines) and lines[end + 1].startswith(MEASURED_LINE):
            end += 2
        return first, end
    return begin, begin


# --- What a directive stands for ------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Words:
    """`a b from="x y" comment`: what stands alone, and what has a value."""

    plain: List[str]
    named: Dict[str, str]

    @staticmethod
    def of(block: Block, allowed: Sequence[str]) -> Words:
        plain, named = [], {}
        try:
            words = shlex.split(block.words)
        except ValueError as error:
            raise block.wrong(f"{error}: {block.words}") from error
        for word in words:
            key, equals, value = word.partition("=")
            if equals and key.isidentifier():
                named[key] = value
            else:
                plain.append(word)
        if unknown := set(named) - set(allowed):
            raise block.wrong(f"{block.kind} knows no {unknown.pop()}=; only "
                              f"{', '.join(allowed) or 'words'}")
        return Words(plain, named)


class Sources:
    """The repository's files, and what is made from them."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.pictures: Dict[str, str] = {}  # path -> text: those that pages show

    def read(self, block: Block, path: str) -> str:
        try:
            return (self.root / path).read_text(encoding="utf-8")
        except OSError as error:
            raise block.wrong(f"{path}: {error.strerror}") from error

    def of(self, block: Block) -> List[str]:
        return {"snippet": self.snippet, "diff": self.diff, "table": self.table,
                "plot": self.plot, "milestones": self.milestones}[block.kind](block)

    def snippet(self, block: Block) -> List[str]:
        words = Words.of(block, ("from", "to", "like"))
        with_comment = "comment" in words.plain[1:]
        path, *names = [word for word in words.plain if word != "comment"] or [""]
        if not path or len(names) > 1 or not (names or "from" in words.named):
            raise block.wrong("snippet: FILE and a NAME, or a FILE and from=\"…\"")
        text = self.read(block, path)
        begin, end = 0, len(text)
        if names:
            begin, end = self.definition(block, path, text, names[0], words.named.get("like", ""))
            if with_comment:
                begin = definitions.with_comment_above(text, begin)
            begin = text.rfind("\n", 0, begin) + 1  # with its indentation
        lines = part(block, path, text[begin:end].rstrip("\n").split("\n"), words.named)
        language = LANGUAGES.get(pathlib.PurePath(path).suffix, "")
        return [f"```{language}", *textwrap.dedent("\n".join(lines)).split("\n"), "```"]

    def definition(self, block: Block, path: str, text: str, name: str,
                   like: str) -> Tuple[int, int]:
        found = [one for one in definitions.find(text, name) if like in text[one.begin:one.end]]
        if not found:
            raise block.wrong(f"{path} defines no {name}" + (f" with {like!r}" if like else ""))
        if len(found) > 1:
            where = ", ".join(f"{path}:{text.count(chr(10), 0, one.begin) + 1}" for one in found)
            raise block.wrong(f"{name} is defined at {where}: add like=\"TEXT\" that only one has")
        return found[0].begin, found[0].end

    def diff(self, block: Block) -> List[str]:
        words = Words.of(block, ("context", "from", "to"))
        if len(words.plain) != 2 or not words.named.get("context", "1").isdigit():
            raise block.wrong("diff: STAGE STAGE [context=0] [from=\"…\" to=\"…\"]")
        before, after = [step.story(self.read(block, f"stages/{self.stage(block, name)}/main.cc"))
                         for name in words.plain]
        lines = list(difflib.unified_diff(before, after, lineterm="",
                                          n=int(words.named.get("context", "1"))))
        shown = [ELIDED if line.startswith("@@") else line.rstrip() for line in lines[2:]]
        shown = shown[1:] if shown[:1] == [ELIDED] else shown
        return ["```diff", *part(block, "main.cc", shown, words.named), "```"]

    def stage(self, block: Block, name: str) -> str:
        try:
            return step.find_stage(self.root, name)
        except ValueError as error:
            raise block.wrong(str(error)) from error

    def measured(self, block: Block) -> plot.Data:
        words = Words.of(block, ("rows",) if block.kind == "table" else ())
        path = f"{MEASURED}/{' '.join(words.plain)}.json"
        try:
            data = json.loads(self.read(block, path))
        except json.JSONDecodeError as error:
            raise block.wrong(f"{path}:{error.lineno}: {error.msg}") from error
        if "rows" in words.named:
            rows = {str(row[0]): row for row in data.get("rows", [])}
            wanted = words.named["rows"].split("|")
            if missing := [name for name in wanted if name not in rows]:
                raise block.wrong(f"{path} has no row {missing[0]!r}")
            data["rows"] = [rows[name] for name in wanted]
        return data

    def table(self, block: Block) -> List[str]:
        return self.drawn(block, plot.table, self.words(block))

    def plot(self, block: Block) -> List[str]:
        picture = f"{PICTURES}/{block.words}.svg"
        data = self.measured(block)
        self.pictures[picture] = self.drawn(block, plot.svg)
        relative = os.path.relpath(picture, os.path.dirname(block.page) or ".")
        title = self.words(block).get(data["title"], data["title"])
        return [f"![{title}]({relative})"]

    def words(self, block: Block) -> Dict[str, str]:
        """For a page in another language: what is drawn and measured -> the same in its words."""
        if not (translation := TRANSLATION.fullmatch(block.page)):
            return {}
        path = os.path.join(os.path.dirname(block.page), f"words.{translation['language']}.json")
        return json.loads(self.read(block, path))

    def milestones(self, block: Block) -> List[str]:
        """Those of a stage's task, which //harness:start gives to a learner."""
        if block.words not in TASKS:
            raise block.wrong(f"there is no task {block.words}; there are {', '.join(TASKS)}")
        return [f"{number}. {milestone.title}"
                for number, milestone in enumerate(TASKS[block.words].milestones, 1)]

    def drawn(self, block: Block, draw: Callable, *more: Dict[str, str]):
        try:
            return draw(self.measured(block), *more)
        except (KeyError, TypeError, ValueError) as error:
            raise block.wrong(f"{MEASURED}/{block.words}.json is not as slides/plot.py wants it: "
                              f"{type(error).__name__}: {error}") from error


def part(block: Block, path: str, lines: List[str], named: Dict[str, str]) -> List[str]:
    """From the line that has `from` to the next that has `to`; `…` for what is left out."""
    first, last = 0, len(lines) - 1
    if "from" in named:
        first = line_with(block, path, lines, named["from"], 0)
        last = first if "to" not in named else last
    if "to" in named:
        last = line_with(block, path, lines, named["to"], first)
    shown = lines[first:last + 1]
    if path.endswith((".c", ".cc", ".h")):
        if first > 0 and "from" in named:
            shown.insert(0, indent_of(shown[0]) + ELIDED)
        if last < len(lines) - 1:
            shown.append(indent_of(shown[-1]) + ELIDED)
    return shown


def line_with(block: Block, path: str, lines: Sequence[str], wanted: str, start: int) -> int:
    for number in range(start, len(lines)):
        if wanted in lines[number]:
            return number
    raise block.wrong(f"{path} has no line there with {wanted!r}")


def indent_of(line: str) -> str:
    return line[:len(line) - len(line.lstrip())]


# --- Transcripts ----------------------------------------------------------------------------------

def played(block: Block, lines: Sequence[str], vm: Machine) -> List[str]:
    """The block's lines as they are now."""
    try:
        steps = transcript.parse(lines)
    except ValueError as error:
        raise block.wrong(str(error)) from error
    if not steps:
        raise block.wrong("an empty console block")
    try:
        now = vm.play(block.before, steps)
    except TerminalError as error:
        raise block.wrong(str(error), block.begin + 1 + error.line) from error
    merged: List[str] = []
    for written, seen in zip(steps, now):
        seen.output = transcript.merge(written.output, seen.output)
        merged += seen.text()
    return merged


class Told:
    """In place of a machine, for a translated page: the transcripts of the original, in order."""

    def __init__(self, root: pathlib.Path, page: str) -> None:
        lines = (root / page).read_text(encoding="utf-8").split("\n")
        self.blocks = [lines[block.begin:block.end] for block in blocks(page, lines)
                       if block.kind == "console"]

    def of(self, block: Block, number: int, blocks_there: int) -> List[str]:
        if blocks_there != len(self.blocks):
            there = len(self.blocks)
            raise block.wrong(f"{blocks_there} transcripts here, {there} in the original")
        return self.blocks[number]


# --- Pages ----------------------------------------------------------------------------------------

def brought_up_to_date(page: str, text: str, sources: Sources,
                       vm: Optional[Machine]) -> Tuple[str, List[str]]:
    """What the page has to be, and what is wrong with it. Without a machine, no transcripts."""
    lines, complaints = text.split("\n"), []
    found: List[Block] = []
    try:
        for block in blocks(page, lines):
            found.append(block)
    except Wrong as wrong:
        complaints.append(str(wrong))
    changed = list(lines)
    translation = TRANSLATION.fullmatch(page)
    told = Told(sources.root, translation["original"] + ".md") if translation else None
    typed = [block for block in found if block.kind == "console"]
    for block in reversed(found):  # from below, so that line numbers stay true
        written = lines[block.begin:block.end]
        try:
            if block.kind != "console":
                new = sources.of(block)
            elif told is not None:
                new = told.of(block, typed.index(block), len(typed))
            elif vm is not None:
                new = played(block, written, vm)
            else:
                continue
        except Wrong as wrong:
            complaints.insert(0, str(wrong))
            continue
        if new != written:
            changed[block.begin:block.end] = new
            complaints.insert(0, f"{block.place}: this is not what it quotes\n"
                              + difference(written, new, block.begin))
    return "\n".join(changed), complaints


def difference(written: Sequence[str], new: Sequence[str], offset: int) -> str:
    """Unified, with the page's line numbers; `-` is the page, `+` what is so."""
    lines = list(difflib.unified_diff(written, new, "the page", "what it quotes", lineterm=""))

    def shift(match: re.Match) -> str:
        return f"{match[1]}{int(match[2]) + offset}"
    return "\n".join(re.sub(r"([-+])(\d+)", shift, line) if line.startswith("@@") else line
                     for line in lines)


def pages_of(root: pathlib.Path) -> List[str]:
    """All that are kept true: the stages' pages, the README, the glossary, the deck."""
    found = [root / "README.md", root / "GLOSSARY.md", *sorted(root.glob("stages/*/README.md")),
             root / "slides/deck.md", *sorted(root.glob("slides/deck.??.md"))]
    return [str(path.relative_to(root)) for path in found if path.exists()]


def has_transcripts(root: pathlib.Path, pages: Sequence[str]) -> bool:
    def of(page: str) -> bool:
        lines = (root / page).read_text(encoding="utf-8").split("\n")
        try:
            return any(block.kind == "console" for block in blocks(page, lines))
        except Wrong:
            return False  # it is complained of elsewhere
    return any(of(page) for page in pages if not TRANSLATION.fullmatch(page))


# The tip of an arrow; and what gives a picture its colours where nothing else does. In the deck its
# theme does, so marp.config.mjs leaves both out.
HEAD = ('<defs><marker id="head" viewBox="0 0 10 10" refX="8.5" refY="5" markerWidth="5.5" '
        'markerHeight="5.5" orient="auto-start-reverse"><path d="M 0 1 L 9 5 L 0 9 z"/></marker>'
        "</defs>")
WORN = re.compile(r"<style class=\"worn\">.*?</style>\n<defs>.*?</defs>\n", re.DOTALL)


def dressed(picture: str, style: str) -> str:
    """A drawing of the deck with its style in it, so that it can stand on any page."""
    bare = WORN.sub("", picture)
    if "<style" in bare:  # plots bring their own
        return picture
    worn = f'<style class="worn">\n{style}</style>\n{HEAD}\n'
    return bare.replace("</title>\n", f"</title>\n{worn}", 1)


def undressed(root: pathlib.Path) -> Dict[str, str]:
    """The drawings that have another style than style.css, as they have to be."""
    style = root / PICTURES / "style.css"
    texts = {path: path.read_text(encoding="utf-8") for path in style.parent.glob("*.svg")}
    return {str(path.relative_to(root)): made for path, text in texts.items()
            if style.exists() and (made := dressed(text, style.read_text("utf-8"))) != text}


def update(root: pathlib.Path, pages: Sequence[str], vm: Optional[Machine],
           write: bool) -> List[str]:
    """Brings the pages and their pictures up to date, or only says what is not."""
    sources = Sources(root)
    complaints: List[str] = []
    for page in pages:
        path = root / page
        text = path.read_text(encoding="utf-8")
        new, wrong = brought_up_to_date(page, text, sources, vm)
        complaints += wrong
        if write and new != text:
            path.write_text(new, encoding="utf-8")
    for picture, text in undressed(root).items():
        complaints.append(f"{picture}:1: has not the style of {PICTURES}/style.css")
        if write:
            (root / picture).write_text(text, encoding="utf-8")
    for picture, text in sources.pictures.items():
        path = root / picture
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            complaints.append(f"{picture}:1: is not what slides/plot.py draws now")
            if write:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, encoding="utf-8")
    return complaints


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="bazel run //slides:update --",
                                     description=__doc__.split("\n", 1)[0])
    parser.add_argument("pages", nargs="*", metavar="PAGE", help="default: all")
    parser.add_argument("--no-run", action="store_true", help="leave the transcripts as they are")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if stale")
    arguments = parser.parse_args(words)
    root = pathlib.Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", ".")).resolve()
    here = pathlib.Path(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    try:
        pages = [str((here / page).resolve().relative_to(root)) for page in arguments.pages]
        pages = pages or pages_of(root)
        if arguments.no_run or not has_transcripts(root, pages):
            complaints = update(root, pages, None, not arguments.check)
        else:
            with machine() as vm:
                complaints = update(root, pages, vm, not arguments.check)
    except (OSError, ValueError) as error:
        print(f"slides:update: {error}", file=sys.stderr)
        return 2
    for complaint in complaints:
        print(complaint)
    refused = [one for one in complaints if "\n" not in one
               and not one.endswith(("draws now", "style.css"))]
    return 1 if refused or (arguments.check and complaints) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
