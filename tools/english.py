#!/usr/bin/env python3
"""Finds turns of phrase that DESIGN.md 7.13 rules out, in all text that Git tracks.

Usage: tools/english.py [--count] [FILE...]      --count: only how many each file has

Looked at are Markdown without its code, and the comments and string literals of C++, Python,
Starlark and shell. Where a phrase is right, write `english: allow` in a comment on its line, or add
the file and the phrase to ALLOWED below.
"""

from __future__ import annotations

import bisect
import dataclasses
import io
import pathlib
import re
import subprocess
import sys
import tokenize
from typing import Iterator, List, Sequence, Tuple

ROOT = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Rule:
    """A pattern, and what to write instead."""

    name: str
    pattern: str
    advice: str


# The beginning of a sentence, or of a part after a colon or semicolon.
START = r"(?:^|(?<=[.;:!?)] )|(?<=[-*|] ))"

RULES = (
    Rule("headless who",
         rf"\b[Ww]hoever\b|{START}Who (?=[^.?]*[.,])[a-z]"
         r"|\b(?:for|of|to|with|by|from|than) who\b(?! in\b)",
         "name the actor: a process that …, a user who …"),
    Rule("he", r"\b(?:[Hh]e|[Hh]im|[Hh]is|[Hh]imself)\b", "they, or it for a process"),
    Rule("answers",
         rf"{START}Answers (?!to\b|for\b|are\b|folded)[a-z\-0-9\"`]"
         r"|\([0-9a-z_]*\)`? (?:would )?answers?\b"
         r"|\b(?:it|that|which|and|kernel|function|call|file) answers? (?!to\b|for\b|are\b|is\b)"
         r"[A-Za-z\-0-9\"`]",
         "a function returns, a program prints or reports"),
    Rule("nobody's", r"\b[Nn]obody's\b(?! (?:uid|gid|id)\b)", "unowned, not in use, without …"),
    Rule("anew", r"\banew\b", "again, or a new …"),
    Rule("shall", r"\b[Ss]hall\b", "must, should, will, is to"),
    Rule("causal for",
         r", for (?:it|they|there|else|otherwise|then)\b|, for (?:this|that) (?:is|was|has|does)\b",
         "because"),
    Rule("elliptic else", rf"{START}[Ee]lse (?!if\b|the branch)[a-z\"`]|\bfor else\b|\bwould"
                                                                    " else\b",
         "otherwise"),
    Rule("inversion",
         rf"{START}(?:Was|Were|Should|Had) (?![^.?]*\?)"
         r"(?:it|they|there|the|a|an|one|this|that|[0-9])\b[^.?]*,",
         "If … was, if … should"),
    Rule("but for", r"\bbut for\b", "except, apart from"),
    Rule("is no",
         r"(?<!\b[Tt]here )\b(?:is|are|was|were) no (?:regular|block|problem|program|failure|error|"
         r"reason|number|such|valid|JSON|member|link|folder|directory|file|script|mount|process|"
         r"longer a|matter of|secret|surprise|part|thing|root|user|port|verdict|proof|difference|"
         r"help|harm|boundary|container|layer|list|option)\b",
         "is not a …"),
    Rule("an own", r"\b[Aa]n own\b", "its own …, a … of its own"),
    Rule("so many", r"\b(?:[Aa]t most|only) so (?:many|much)\b", "at most N, that many"),
    Rule("tell of", r"\b(?:tells?|told) of\b", "reports, describes, lists"),
    Rule("upon", r"\b[Uu]pon\b", "on, on top of"),
    Rule("hand on", r"\bhand(?:s|ed|ing)? (?:\w+ )?on\b(?! to the)", "pass on, enable"),
    Rule("is there", rf"{START}(?:Whether|If|Unless) it is there already\b", "exists already"),
)

# Files, and what in them is right nevertheless.
ALLOWED = (
    ("tools/english.py", r"."),  # the patterns themselves
    ("tools/test_english.py", r"."),
)


@dataclasses.dataclass(frozen=True)
class Finding:
    path: str
    line: int
    rule: Rule
    excerpt: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule.name}: “{self.excerpt}” ({self.rule.advice})"


Piece = Tuple[int, str]  # where in the file it begins, and its text

# Comments, and literals: raw ones, strings, characters.
CPP = re.compile(r"//[^\n]*|/\*.*?\*/|R\"(\w*)\(.*?\)\1\"|\"(?:\\.|[^\"\\\n])*\""
                 r"|'(?:\\.|[^'\\\n])+'", re.DOTALL)
SHELL = re.compile(r"(?:^|(?<=\s))#[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'[^'\n]*'", re.MULTILINE)


def matches(pattern: re.Pattern[str], text: str) -> Iterator[Piece]:
    for match in pattern.finditer(text):
        yield match.start(), match[0]


def tokens(text: str) -> Iterator[Piece]:
    lines = text.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in (tokenize.COMMENT, tokenize.STRING):
            yield starts[token.start[0] - 1] + token.start[1], token.string


def markdown(text: str) -> Iterator[Piece]:
    """The prose, a paragraph or a row of a table at a time."""
    prose = re.sub(r"^ *(```+|~~~+).*?^ *\1 *$", lambda code: re.sub(r"[^\n]", " ", code[0]), text,
                   flags=re.DOTALL | re.MULTILINE)
    for match in re.finditer(r"^ *\|.*|(?:^(?! *\|).*\S.*\n?)+", prose, re.MULTILINE):
        yield match.start(), match[0]


def pieces(path: str, text: str) -> List[Piece]:
    """What people read in the file, each comment, literal or paragraph for itself."""
    suffix = pathlib.PurePath(path).suffix
    first = text.split("\n", 1)[0]
    if suffix == ".md":
        return list(markdown(text))
    if suffix in (".cc", ".h", ".c"):
        return joined(text, matches(CPP, text))
    if suffix in (".py", ".bzl", ".bazel") or first.startswith("#!") and "python" in first:
        return joined(text, tokens(text))
    if suffix == ".sh" or re.match(r"#!.*\b(ba)?sh\b", first):
        return joined(text, matches(SHELL, text))
    return []


def joined(whole: str, found: Iterator[Piece]) -> List[Piece]:
    """Pieces of a kind on consecutive lines, with nothing between them, are one text."""
    result: List[Piece] = []
    kind = ""
    for start, text in found:
        this = text.lstrip("rfbRu")[:1]
        end = result[-1][0] + len(result[-1][1]) if result else 0
        between = whole[end:start]
        if result and this == kind and between.strip() == "" and between.count("\n") <= 1:
            result[-1] = (result[-1][0], whole[result[-1][0]:start] + text)
        else:
            result.append((start, text))
        kind = this
    return result


def plain(text: str) -> str:
    """Without marks of comments and quotes, and without code; each line stays where it is."""
    text = re.sub(r"`[^`\n]*`", lambda code: "`" + "x" * (len(code[0]) - 2) + "`", text)
    return "\n".join(
        re.sub(r"^\s*(?:[rfbRu]{0,2}\"(?:\"\")?|'|//+|#+|/\*+)? ?|\"(?:\"\")?$", "", line)
        for line in text.split("\n"))


def check(path: str, text: str) -> List[Finding]:
    lines = text.split("\n")
    allowed = [phrase for name, phrase in ALLOWED if path == name]
    findings = []
    for start, piece in pieces(path, text):
        first = text.count("\n", 0, start) + 1
        rows = plain(piece.rstrip("\n")).split("\n")
        # An empty line ends a sentence.
        flat = "".join(row + " " if row.strip() else ". " for row in rows)
        offsets = [0]
        for row in rows:
            offsets.append(offsets[-1] + (len(row) + 1 if row.strip() else 2))
        for rule in RULES:
            for match in re.finditer(rule.pattern, flat):
                line = first + bisect.bisect_right(offsets, match.start()) - 1
                excerpt = flat[max(0, match.start() - 25):match.end() + 25].strip()
                if "english: allow" in lines[line - 1] or any(
                        re.search(phrase, excerpt) for phrase in allowed):
                    continue
                findings.append(Finding(path, line, rule, excerpt))
    return findings


def tracked() -> List[str]:
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                            cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
    return [path for path in listed.split("\0") if path]


def main(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0
    count = "--count" in arguments
    files = [word for word in arguments if word != "--count"] or tracked()
    findings: List[Finding] = []
    for path in files:
        file = ROOT / path
        if file.is_symlink() or not file.is_file():
            continue
        try:
            text = file.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found = check(path, text)
        findings += found
        if count and found:
            print(f"{len(found):4} {path}")
    if not count:
        for finding in findings:
            print(finding)
    if findings:
        print(f"{len(findings)} in all", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
