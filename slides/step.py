"""Shows the step from one stage to the next: the new layer, and where it hooks into main.cc.

  bazel run //slides:diff -- 04 05
  bazel run //slides:diff -- 05                       from the stage before
  bazel run //slides:diff -- 04 05 --html step.html   side by side, one self-contained page

Why each line changed is told by the stage's page, in its table "What changes in main.cc".
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import html
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap
from typing import Dict, List, Optional, Sequence, Tuple

from slides import definitions

HEADING = "## What changes in main.cc"
ROW = re.compile(r"^\| `(?P<code>.+)` \| (?P<why>.+) \|$")
NOT_THE_LAYER = ("_test", "_for_test")
WIDTH = 96


@dataclasses.dataclass(frozen=True)
class Reason:
    """Why main.cc has a line that contains `code`, or has it no more."""

    code: str
    why: str
    line: int  # of the page


@dataclasses.dataclass(frozen=True)
class Hunk:
    """Lines of main.cc that changed, or are the same in both."""

    before: List[str]
    after: List[str]
    same: bool
    reasons: List[Reason]

    @property
    def changed(self) -> List[str]:
        return self.before + self.after


@dataclasses.dataclass(frozen=True)
class Part:
    """A source of the layer: what its header says of it, and of each that it offers."""

    files: List[str]
    about: str
    offers: List[Tuple[str, str]]  # name, first sentence of its comment


@dataclasses.dataclass(frozen=True)
class Step:
    before: str
    after: str
    title: str
    about: str
    parts: List[Part]
    hunks: List[Hunk]


def stages(root: pathlib.Path) -> List[str]:
    return sorted(path.parent.name for path in root.glob("stages/*/main.cc"))


def find_stage(root: pathlib.Path, name: str) -> str:
    """The folder that `05`, `05_userns` or `8a` means. Throws ValueError."""
    known = stages(root)
    wanted = "0" + name if re.fullmatch(r"\d[a-z]?", name) else name
    found = [one for one in known if wanted in (one, one.partition("_")[0])]
    if len(found) != 1:
        raise ValueError(f"there is no stage {name}; there are {', '.join(known)}")
    return found[0]


def story(text: str) -> List[str]:
    """main.cc without its includes and the comment at its head."""
    lines = [line for line in text.splitlines() if not line.startswith("#include")]
    while lines and (not lines[0] or lines[0].startswith("//")):
        lines.pop(0)
    return lines


def reasons_of(page: str) -> List[Reason]:
    """The rows of the page's table."""
    found, inside = [], False
    for number, line in enumerate(page.splitlines(), 1):
        if line.startswith("## "):
            inside = line == HEADING
        elif inside and (row := ROW.match(line)):
            code, why = (row[column].replace("\\|", "|") for column in ("code", "why"))
            found.append(Reason(code, why, number))
    return found


def hunks_of(before: Sequence[str], after: Sequence[str], reasons: Sequence[Reason]) -> List[Hunk]:
    """All of both texts, in order."""
    found = []
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for kind, i1, i2, j1, j2 in matcher.get_opcodes():
        old, new = list(before[i1:i2]), list(after[j1:j2])
        why = [] if kind == "equal" else [reason for reason in reasons
                                          if any(reason.code in line for line in old + new)]
        found.append(Hunk(old, new, kind == "equal", why))
    return found


def comment_text(comment: str) -> str:
    """What // lines say, up to the first that is empty, as one line."""
    lines = [line.strip().lstrip("/").strip() for line in comment.splitlines()]
    return " ".join(lines[:lines.index("")] if "" in lines else lines)


def first_sentence(text: str) -> str:
    """Of "In the parent." and the like, the next one too."""
    sentences = re.split(r"(?<=[.:]) (?=[A-Z\"-])", text, maxsplit=2)
    return " ".join(sentences[:2]) if len(sentences[0]) < 20 else sentences[0]


def parts_of(folder: pathlib.Path) -> List[Part]:
    """The layer, by headers."""
    found = []
    for header in sorted(folder.glob("*.h")):
        if header.stem.endswith(NOT_THE_LAYER):
            continue
        text = header.read_text(encoding="utf-8")
        head = re.match(r"(?://.*\n)*", text)
        about = re.sub(r"^Stage \w+: ", "", comment_text(head.group() if head else ""))
        about = about[:1].upper() + about[1:]
        offers = []
        for one in definitions.definitions(text):
            begin = definitions.with_comment_above(text, one.begin)
            start = text.rfind("\n", 0, one.begin) + 1
            if "::" not in one.name and begin < start:
                offers.append((one.name, first_sentence(comment_text(text[begin:start]))))
        source = header.with_suffix(".cc")
        files = [header.name] + ([source.name] if source.exists() else [])
        found.append(Part(files, first_sentence(about), offers))
    return found


def step(root: pathlib.Path, before: str, after: str) -> Step:
    """From one stage's folder to another's."""
    known = stages(root)
    between = known[known.index(before) + 1:known.index(after) + 1] or [after]
    pages = [(root / "stages" / one / "README.md").read_text(encoding="utf-8") for one in between]
    reasons = [reason for page in pages for reason in reasons_of(page)]
    texts = [story((root / "stages" / one / "main.cc").read_text(encoding="utf-8"))
             for one in (before, after)]
    paragraphs = pages[-1].split("\n\n")
    parts = [part for one in between for part in parts_of(root / "stages" / one)]
    return Step(before, after, paragraphs[0].lstrip("# "), " ".join(paragraphs[1].split()), parts,
                hunks_of(*texts, reasons))


def complaints(root: pathlib.Path) -> List[str]:
    """Hunks that no page explains, and explanations of what did not change."""
    found = []
    known = stages(root)
    for before, after in zip(known, known[1:]):
        page = f"stages/{after}/README.md"
        changed = [hunk for hunk in step(root, before, after).hunks if not hunk.same]
        for hunk in changed:
            if not hunk.reasons and any(line.strip() for line in hunk.changed):
                line = next(line for line in hunk.after + hunk.before if line.strip())
                found.append(f"{page}: \"{HEADING[3:]}\" does not say why: {line.strip()}")
        for reason in reasons_of((root / page).read_text(encoding="utf-8")):
            if not any(reason in hunk.reasons for hunk in changed):
                found.append(f"{page}:{reason.line}: the step changes no line with {reason.code}")
    return found


# --- In the terminal ------------------------------------------------------------------------------

COLOURS = {"title": "1", "file": "1;36", "name": "36", "why": "33", "+": "32", "-": "31", "…": "2"}


def plain(markdown: str) -> str:
    """Without the marks that are for pages."""
    text = re.sub(r"\[([^]]+)\](?:\([^)]*\))?", r"\1", markdown)
    return re.sub(r"\*\*|`", "", text)


def terminal_text(shown: Step, colour: bool) -> str:
    def paint(kind: str, text: str) -> str:
        return f"\033[{COLOURS[kind]}m{text}\033[0m" if colour else text

    def wrap(text: str, indent: str) -> List[str]:
        return textwrap.wrap(text, WIDTH, initial_indent=indent, subsequent_indent=indent)

    lines = [paint("title", f"{shown.before} → {shown.after}"), "", *wrap(plain(shown.about), ""),
             "", paint("title", f"The new layer: stages/{shown.after}"), ""]
    for part in shown.parts:
        lines.append(f"  {paint('file', ', '.join(part.files))}")
        lines += wrap(part.about, "    ") if part.about else []
        for name, about in part.offers:
            lines.append(f"      {paint('name', name)}")
            lines += wrap(about, "        ")
        lines.append("")
    lines += [paint("title", "main.cc"), ""]
    for number, hunk in enumerate(shown.hunks):
        if hunk.same:
            first, last = number == 0, number == len(shown.hunks) - 1
            kept = hunk.after if len(hunk.after) <= 3 else (
                ([] if first else hunk.after[:1]) + ["…"] + ([] if last else hunk.after[-1:]))
            lines += [paint("…", "    …") if line == "…" else f"    {line}".rstrip()
                      for line in kept]
            continue
        for reason in hunk.reasons:
            lines += [paint("why", line) for line in wrap(plain(reason.why), "    # ")]
        lines += [paint("-", f"  - {line}") for line in hunk.before]
        lines += [paint("+", f"  + {line}") for line in hunk.after]
    return "\n".join(lines) + "\n"


def wants_colour(stream) -> bool:
    """See https://no-color.org"""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show(text: str) -> None:
    """In a pager, if it is a person who reads and there is one."""
    pager = shutil.which("less") if sys.stdout.isatty() else None
    if pager is None:
        sys.stdout.write(text)
        return
    # -F: leaves at once if all of it fits; -X: leaves it on the screen.
    subprocess.run([pager, "-RFX"], input=text, text=True, check=False)


# --- As a page ------------------------------------------------------------------------------------

STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1f2328; --soft: #59636e; --line: #d1d9e0;
  --old: #ffebe9; --new: #dafbe1; --why: #fff8c5; --link: #0969da; }
@media (prefers-color-scheme: dark) { :root { --paper: #0d1117; --ink: #e6edf3; --soft: #9198a1;
  --line: #3d444d; --old: #4b1f22; --new: #173b24; --why: #3a3116; --link: #79b8ff; } }
body { margin: 2rem auto; max-width: 84rem; padding: 0 1.5rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
.layer { display: grid; grid-template-columns: repeat(auto-fill, minmax(26rem, 1fr)); gap: 1rem;
  align-items: start; }
.layer section { border: 1px solid var(--line); border-radius: 6px; padding: .2rem 1rem .8rem; }
.layer h3 { font: 600 1rem ui-monospace, monospace; margin: .6rem 0 .2rem; }
.layer p { margin: 0 0 .5rem; color: var(--soft); } dl { margin: 0; }
dt { font: .9rem ui-monospace, monospace; color: var(--link); overflow-wrap: anywhere; }
dd { margin: 0 0 .4rem 1rem; font-size: .9rem; }
table { border-collapse: collapse; width: 100%; table-layout: fixed; }
th { text-align: left; padding: .4rem .6rem; border-bottom: 1px solid var(--line); }
td { vertical-align: top; padding: 0 .6rem; }
td.code { font: .8rem/1.5 ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
td + td { border-left: 1px solid var(--line); }
.old { background: var(--old); } .new { background: var(--new); }
.why td { background: var(--why); padding: .3rem .6rem; font-size: .9rem; }
code { font-family: ui-monospace, monospace; font-size: .9em; }
"""


def inline(markdown: str) -> str:
    """The few marks of a table's cell."""
    text = html.escape(re.sub(r"\[([^]]+)\](?:\([^)]*\))?", r"\1", markdown), quote=False)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)


def page(shown: Step) -> str:
    parts = "\n".join(
        f"<section><h3>{html.escape(', '.join(part.files))}</h3><p>{html.escape(part.about)}</p>"
        "<dl>" + "".join(f"<dt>{html.escape(name)}</dt><dd>{html.escape(about)}</dd>"
                         for name, about in part.offers) + "</dl></section>"
        for part in shown.parts)
    rows = []
    for hunk in shown.hunks:
        for reason in hunk.reasons:
            rows.append(f'<tr class="why"><td colspan="2"><code>{html.escape(reason.code)}</code>'
                        f" — {inline(reason.why)}</td></tr>")
        for number in range(max(len(hunk.before), len(hunk.after))):
            cells = []
            for lines, kind in ((hunk.before, "old"), (hunk.after, "new")):
                there = number < len(lines)
                mark = f" {kind}" if there and not hunk.same else ""
                text = html.escape(lines[number], quote=False) if there else ""
                cells.append(f'<td class="code{mark}">{text or "&nbsp;"}</td>')
            rows.append(f"<tr>{''.join(cells)}</tr>")
    title = html.escape(f"{shown.before} → {shown.after}")
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>{STYLE}</style></head><body>
<h1>{title}</h1>
<p>{inline(shown.about)}</p>
<h2>The new layer</h2>
<div class="layer">
{parts}
</div>
<h2>main.cc, without its includes</h2>
<table><tr><th>{html.escape(shown.before)}</th><th>{html.escape(shown.after)}</th></tr>
{chr(10).join(rows)}
</table></body></html>
"""


def main(words: Sequence[str], environment: Optional[Dict[str, str]] = None) -> int:
    environment = dict(os.environ) if environment is None else environment
    parser = argparse.ArgumentParser(prog="bazel run //slides:diff --",
                                     description=__doc__.split("\n", 1)[0])
    parser.add_argument("stages", nargs="+", metavar="STAGE", help="such as 04 05, or 08a")
    parser.add_argument("--html", metavar="FILE", type=pathlib.Path, help="write a page instead")
    arguments = parser.parse_args(words)
    root = pathlib.Path(environment.get("BUILD_WORKSPACE_DIRECTORY", ".")).resolve()
    here = pathlib.Path(environment.get("BUILD_WORKING_DIRECTORY", "."))
    try:
        names = [find_stage(root, name) for name in arguments.stages]
        known = stages(root)
        if len(names) == 1:
            if names[0] == known[0]:
                raise ValueError(f"{names[0]} is the first stage: there is none before it")
            names.insert(0, known[known.index(names[0]) - 1])
        if len(names) != 2 or known.index(names[0]) >= known.index(names[1]):
            raise ValueError("wanted: an earlier stage and a later one, such as 04 05")
        shown = step(root, *names)
        if arguments.html:
            (here / arguments.html).write_text(page(shown), encoding="utf-8")
            print(f"wrote {here / arguments.html}")
        else:
            show(terminal_text(shown, wants_colour(sys.stdout)))
    except (ValueError, OSError) as error:
        print(f"slides:diff: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
