"""Holds the editions of the deck together: the same slides, and none newer than the other.

  bazel run //slides:translated        records that both editions say the same now

slides/translated.json has a line for each slide, with a hash of each edition's text. What living.py
quotes is not part of it, because it changes in both editions at once. A test names the slides that
have changed since, in either language. Record only what you have read in both.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
import re
import sys
from typing import Dict, List, Sequence

from slides import deck

ORIGINAL, LANGUAGE = "en", "ru"
RECORDED = "slides/translated.json"
DECKS = {ORIGINAL: "slides/deck.md", LANGUAGE: f"slides/deck.{LANGUAGE}.md"}

BLOCK = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
TABLE = re.compile(r"(?:^\|.*\n)+\n\*(?:Measured|Измерено) .*\*$", re.MULTILINE)
DIRECTIVE = re.compile(r"^<!-- (?:class|_class|stage|track|exercise|break|snippet|diff|table|plot|"
                       r"before|not run):.*?-->$", re.MULTILINE)
PICTURE = re.compile(r"\]\((pictures/[^)]+)\)")

Row = Dict[str, str]


def prose(slide: str) -> str:
    """The text that has to be translated; the rest is quoted."""
    return DIRECTIVE.sub("", TABLE.sub("", BLOCK.sub("", slide)))


def digest(slide: str) -> str:
    return hashlib.sha256(prose(slide).encode()).hexdigest()[:12]


def rows(decks: Dict[str, str]) -> List[Row]:
    """One for each slide: its title in the original, and the hash of each edition."""
    parts = {language: deck.parts(text) for language, text in decks.items()}
    titles = [one.title for one in deck.slides(decks[ORIGINAL])]
    return [{"slide": title, **{language: digest(one) for language, one in zip(parts, slides)}}
            for title, *slides in zip(titles, *parts.values())]


def built_of(slide: str) -> List[str]:
    """What has to be the same in each edition: directives, blocks, pictures."""
    return [*DIRECTIVE.findall(slide), *BLOCK.findall(slide), *PICTURE.findall(slide)]


def differences(decks: Dict[str, str]) -> List[str]:
    """Slides that are made of other things in one edition than in the other."""
    found = []
    original, other = (deck.slides(decks[language]) for language in (ORIGINAL, LANGUAGE))
    if len(original) != len(other):
        found.append(f"{len(original)} slides in {DECKS[ORIGINAL]}, {len(other)} in "
                     f"{DECKS[LANGUAGE]}")
    for one, two in zip(original, other):
        here, there = built_of(one.text), built_of(two.text)
        if one.minutes != two.minutes:
            here, there = [f"{one.minutes:g} min"], [f"{two.minutes:g} min"]
        if here != there:
            first = next((pair for pair in zip(here, there) if pair[0] != pair[1]),
                         (here[len(there):], there[len(here):]))
            found.append(f"{place(one)}: has {first[0]!r}, and in {DECKS[LANGUAGE]}, "
                         f"“{two.title}”, {first[1]!r}")
    return found


def place(slide: deck.Slide) -> str:
    stage = f" ({slide.stage})" if slide.stage else ""
    return f"{DECKS[ORIGINAL]}: slide {slide.number}{stage}, “{slide.title}”"


def stale(decks: Dict[str, str], recorded: Sequence[Row]) -> List[str]:
    """Slides whose text has changed in one language since both were the same."""
    now = rows(decks)
    if [row["slide"] for row in now] != [row["slide"] for row in recorded]:
        known = {row["slide"] for row in recorded}
        new = [row["slide"] for row in now if row["slide"] not in known]
        return [f"the slides are not those of {RECORDED}: " + (f"new is “{new[0]}”" if new else
                                                               "another number or order")]
    slides = deck.slides(decks[ORIGINAL])
    return [f"{place(slide)}: changed in {' and '.join(changed)} since both said the same"
            for slide, row, old in zip(slides, now, recorded)
            if (changed := [language for language in decks if row[language] != old[language]])]


def read(root: pathlib.Path) -> Dict[str, str]:
    return {language: (root / path).read_text(encoding="utf-8") for language, path in DECKS.items()}


def main() -> int:
    root = pathlib.Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    decks = read(root)
    if wrong := differences(decks):
        print(*wrong, sep="\n", file=sys.stderr)
        return 1
    path = root / RECORDED
    if path.exists():
        print(*stale(decks, json.loads(path.read_text(encoding="utf-8"))), sep="\n")
    lines = ",\n".join(" " + json.dumps(row, ensure_ascii=False) for row in rows(decks))
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
