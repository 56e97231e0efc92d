"""Finds a function, a type or a constant in C++ source by its name.

No compiler: the text is read with comments, strings and preprocessor lines blanked out, so that
braces and semicolons mean what they say. This is enough for the code of this repository. The
caller refuses what is not found, or found twice.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Iterator, List, Tuple

# What is no code: comments, raw strings, strings, characters (but not the ' of 1'000).
NO_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|R"(?P<end>[^()\\\s]*)\(.*?\)(?P=end)"'
                     r'|"(?:\\.|[^"\\\n])*"'
                     r"|(?<![0-9A-Za-z_])'(?:\\.|[^'\\\n])*'", re.DOTALL)
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
SCOPE = re.compile(r'^(inline\s+)?namespace\b|^extern\s*$')
TYPE = re.compile(r"^(?:template\s*<.*>\s*)?(?:typedef\s+)?(?:class|struct|union|enum)\b"
                  r"(?:\s+class|\s+struct)?(?:\s+\[\[.*?\]\])?\s+(\w+)", re.DOTALL)
ACCESS = re.compile(r"\s*(?:public|protected|private)\s*:(?!:)")
NAME = re.compile(r"((?:[A-Za-z_]\w*\s*::\s*)*(?:operator\s*\S+?|~?[A-Za-z_]\w*))\s*$")
OPENING, CLOSING = "({[", ")}]"


@dataclasses.dataclass(frozen=True)
class Definition:
    """A piece of source: text[begin:end]. Its name has the types around it, not the namespaces."""

    name: str
    begin: int
    end: int
    has_body: bool  # false for a mere declaration


def blank_out(text: str) -> str:
    """The same text, of the same length, with spaces for all that is no code."""
    def spaces(match: re.Match) -> str:
        return re.sub(r"[^\n]", " ", match.group())
    return DIRECTIVE.sub(spaces, NO_CODE.sub(spaces, text))


def end_of_group(code: str, at: int) -> int:
    """After the bracket that closes the one at `at`."""
    depth = 0
    for place in range(at, len(code)):
        if code[place] in OPENING:
            depth += 1
        elif code[place] in CLOSING:
            depth -= 1
            if depth == 0:
                return place + 1
    raise ValueError(f"the bracket at {at} is never closed")


def statement(code: str, begin: int, end: int) -> Tuple[int, int]:
    """Where the declaration that begins here has its body's brace (or -1), and where it ends."""
    place, parameters, initialisers, value = begin, False, False, False
    while place < end:
        character = code[place]
        if character == ";":
            return -1, place + 1
        if character == "(":
            parameters = parameters or not value
            place = end_of_group(code, place)
            continue
        if character == "[":
            place = end_of_group(code, place)
            continue
        if character == "=" and code[place - 1] not in "=!<>" and code[place + 1] != "=":
            value = not code[begin:place].rstrip().endswith("operator")
        elif character == ":" and parameters and ":" not in (code[place - 1], code[place + 1]):
            initialisers = True
        elif character == "{":
            before = code[begin:place].rstrip()
            of_a_member = initialisers and re.search(r"[\w>]$", before)
            if value or of_a_member or is_braced_variable(before, parameters):
                place = end_of_group(code, place)
                continue
            return place, end_of_group(code, place)
        place += 1
    return -1, end


def is_braced_variable(before: str, parameters: bool) -> bool:
    """Whether it is `Type name{` or `Type name[] {`, not a type's or a function's body."""
    if parameters or not before:
        return False
    return not (TYPE.match(before.lstrip()) or SCOPE.match(before.lstrip()))


def declared_name(header: str) -> str:
    """What a declaration without a type's keyword is called."""
    header = re.split(r"(?<![=!<>])=(?!=)", header, maxsplit=1)[0]
    if (bracket := first_top_level(header, "(")) >= 0 and header[:bracket].strip():
        header = header[:bracket]
    header = re.split(r"[\[{;]", re.sub(r"\[\[.*?\]\]", "", header), maxsplit=1)[0]
    found = NAME.search(header.rstrip(" \t\n;"))
    return re.sub(r"\s", "", found.group(1)) if found else ""


def first_top_level(text: str, wanted: str) -> int:
    """Where it is outside of template arguments."""
    depth = 0
    for place, character in enumerate(text):
        if character == "<":
            depth += 1
        elif character == ">":
            depth = max(0, depth - 1)
        elif character == wanted and depth == 0:
            return place
    return -1


def definitions(text: str) -> List[Definition]:
    """All that the source declares, in its order; what is inside functions is not looked at."""
    code = blank_out(text)
    return list(walk(code, 0, len(code), ""))


def walk(code: str, begin: int, end: int, prefix: str) -> Iterator[Definition]:
    place = begin
    while True:
        while place < end and (code[place].isspace() or code[place] in ";}"):
            place += 1
        if access := ACCESS.match(code, place):
            place = access.end()
            continue
        if place >= end:
            return
        brace, after = statement(code, place, end)
        header = code[place:brace if brace >= 0 else after]
        if brace >= 0 and SCOPE.match(header.strip()):
            yield from walk(code, brace + 1, after - 1, prefix)
        else:
            kind = TYPE.match(header)
            if kind and (brace >= 0 or header.rstrip(" \t\n;").endswith(kind.group(1))):
                name = prefix + kind.group(1)
                if brace >= 0:
                    semicolon = code.find(";", after)
                    after = semicolon + 1 if semicolon >= 0 else after
            else:
                name = prefix + declared_name(header)
            has_body = brace >= 0 or "=" in header
            yield Definition(name, place, after, has_body)
            if kind and brace >= 0 and "enum" not in kind.group():
                yield from walk(code, brace + 1, end_of_group(code, brace) - 1, f"{name}::")
        place = after


def find(text: str, name: str) -> List[Definition]:
    """Those that `name` may mean: one, if it is good. A definition hides its declarations, and what
    is called just so hides what is called so in a type."""
    found = [one for one in definitions(text)
             if one.name == name or one.name.endswith(f"::{name}")]
    for better in (lambda one: one.name == name, lambda one: one.has_body):
        if any(better(one) for one in found):
            found = [one for one in found if better(one)]
    return found


def with_comment_above(text: str, begin: int) -> int:
    """Where the lines of // comment directly above begin."""
    start = text.rfind("\n", 0, begin) + 1
    while start > 0:
        line = text.rfind("\n", 0, start - 1) + 1
        if not text[line:start].lstrip().startswith("//"):
            break
        start = line
    return start
