"""The glossary and the pages: every term is defined where it first occurs, and linked both ways."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from typing import Dict, List

ENTRY = re.compile(r"^### (?P<term>.+)\n\n(?P<text>(?:(?!^###).*\n?)*)", re.MULTILINE)
FIRST = re.compile(r"First on\s+\[[^]]+\]\((?P<page>[^)#]+)\)\.\s*\Z")
LINK = re.compile(r"\[(?P<text>[^]]+)\]\((?:\.\./)*GLOSSARY\.md(?:#(?P<anchor>[^)]+))?\)")
# Also words of every day, and so before they are terms.
EVERYDAY = {"layer", "chain", "image", "volume", "hole", "controller", "bridge"}
NOT_PROSE = re.compile(
    r"^ *```.*?^ *```[ ]*$|<!--.*?-->|^#[^\n]*$|^\[[^]\n]+\]: [^\n]*$|!\[[^]]*\]\([^)]*\)"
    r"|`[^`\n]*`(?!\]\()|^\[← [^\n]*$|\*\*Before this page\*\*.*?(?=\n\n)|^> \*\*Follow.*?(?=\n\n)",
    re.MULTILINE | re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A term, and the page that the glossary names for it."""

    term: str
    page: str

    @property
    def anchor(self) -> str:
        """As GitHub makes it from the heading."""
        return re.sub(r"[^\w-]", "", self.term.lower().replace(" ", "-"))

    @property
    def pattern(self) -> re.Pattern:
        words = r"\s+".join(re.escape(word) for word in self.term.split())
        return re.compile(rf"(?<![\w-])(?:{words}|{words[:-1]}ie)(?:s|es)?(?![\w-])", re.IGNORECASE)


def entries(glossary: str) -> List[Entry]:
    """Throws ValueError if one names no page."""
    found = []
    for match in ENTRY.finditer(glossary):
        first = FIRST.search(match["text"].rstrip("\n") + "\n")
        if not first:
            raise ValueError(f"{match['term']}: does not end with \"First on [page](...).\"")
        found.append(Entry(match["term"], first["page"]))
    return found


def prose(page: str) -> str:
    """The page without code, headings, pictures and what leads to other pages."""
    return NOT_PROSE.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), page)


def complaints(glossary: str, pages: Dict[str, str]) -> List[str]:
    """What does not fit; `pages` are in the order in which they are read."""
    known = entries(glossary)
    terms = [entry.term.lower() for entry in known]
    told = [] if terms == sorted(terms) else ["GLOSSARY.md is not in alphabetical order"]
    anchors = {entry.anchor for entry in known}
    texts = {name: prose(text) for name, text in pages.items()}
    for name, text in texts.items():
        told += [f"{name}: the glossary has no {link['anchor']}" for link in LINK.finditer(text)
                 if link["anchor"] and link["anchor"] not in anchors]
    for entry in known:
        told += misplaced(entry, texts)
    return told


def misplaced(entry: Entry, texts: Dict[str, str]) -> List[str]:
    for name, text in texts.items():
        links = [link for link in LINK.finditer(text) if link["anchor"] == entry.anchor]
        use = entry.pattern.search(text)
        if entry.term in EVERYDAY and not links:
            continue
        if links and name != entry.page:
            return [f"{entry.term}: first linked on {name}, the glossary says {entry.page}"]
        if links and (entry.term in EVERYDAY or use is None or links[0].start() <= use.start()):
            return []
        if use:
            line = text.count("\n", 0, use.start()) + 1
            return [f"{name}:{line}: \"{entry.term}\" is used before it is linked to the glossary"]
    return [f"{entry.term}: no page links to it"]


def of_repository(root: pathlib.Path, stages: List[str]) -> List[str]:
    names = [f"stages/{stage}/README.md" for stage in stages]
    pages = {name: (root / name).read_text(encoding="utf-8") for name in names}
    return complaints((root / "GLOSSARY.md").read_text(encoding="utf-8"), pages)
