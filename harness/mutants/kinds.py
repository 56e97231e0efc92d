"""The kinds of changes that make a mutant, and where in a file each kind can be made."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import re
from typing import Callable, Dict, Iterator, List, Sequence, Set, Tuple

UNCHECKED = ("namespace { template <typename Result, typename... Rest>\n"
             "[[maybe_unused]] Result unchecked(Result result, Rest&&...) { return result; } }\n")


@dataclasses.dataclass(frozen=True)
class Generated:
    """One change: the lines from `line` on, counted from 1, become `new`."""

    file: str
    kind: str
    line: int
    old: str
    new: str
    nth: int = 1  # of the same changes in this file

    @property
    def id(self) -> str:
        """The same for as long as the changed text is: what survivors.txt names."""
        told = hashlib.sha256(f"{self.kind}\0{self.old}\0{self.new}".encode()).hexdigest()[:8]
        return f"{self.file}:{self.kind}:{told}" + (f".{self.nth}" if self.nth > 1 else "")

    @property
    def dropped_flag(self) -> str:
        """Such as "flag O_CLOEXEC": what survivors.txt may name instead of an id."""
        if self.kind != "flag":
            return ""
        gone = (collections.Counter(re.findall(r"\w+", self.old))
                - collections.Counter(re.findall(r"\w+", self.new)))
        return f"flag {' '.join(gone)}"

    @property
    def names(self) -> Set[str]:
        """What survivors.txt may call it."""
        same_in_all_stages = f"*/{self.id.rpartition('/')[2]}"
        return {self.id, same_in_all_stages, self.dropped_flag} - {""}

    def tell(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.file}:{self.line} {self.kind}: {old}  =>  {new or '(nothing)'}"


# --- The kinds ------------------------------------------------------------------------------------

# A call that stands alone, on one line. A declaration or a return is none.
STATEMENT = re.compile(r"^\s+(?:\(void\))?[\w:.>-]+\(.*\);\s*(?://.*)?$")
FLAG_AFTER = re.compile(r" \| [A-Z][A-Z0-9_]{3,}\b")
FLAG_BEFORE = re.compile(r"\b[A-Z][A-Z0-9_]{3,} \| ")
CHECK = re.compile(r"\bcheck(?:_quietly)?\(")
GUARD = re.compile(r"(?:^|\s)(throw (?!;))|^\s*if \(.*\) (?=((?:return|continue|break)\b))")
NUMBER = re.compile(r"(?<![\w.\"'])(\d+)(?![\w.\"'])")
LESS = re.compile(r" (<|>|<=|>=) ")
OTHER = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}


def is_code(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith(("//", "#", "namespace", "using"))


def outside_of_strings(line: str) -> str:
    """The same length, with blanks in place of strings and of a comment at the end."""
    line = re.sub(r'"(?:\\.|[^"\\])*"', lambda found: " " * len(found.group()), line)
    return re.sub(r"//.*", lambda found: " " * len(found.group()), line)


def deleted(lines: Sequence[str], at: int) -> Iterator[Tuple[str, str]]:
    if STATEMENT.match(lines[at]):
        yield lines[at], ""


def unchecked(lines: Sequence[str], at: int) -> Iterator[Tuple[str, str]]:
    for found in CHECK.finditer(outside_of_strings(lines[at])):
        yield lines[at], lines[at][:found.start()] + "unchecked(" + lines[at][found.end():]


def unguarded(lines: Sequence[str], at: int) -> Iterator[Tuple[str, str]]:
    """What is noticed has no consequence: `throw X;` becomes `if (false) throw X;`."""
    for found in GUARD.finditer(outside_of_strings(lines[at])):
        start = max(found.start(1), found.start(2))
        yield lines[at], lines[at][:start] + "if (false) " + lines[at][start:]


def swapped(lines: Sequence[str], at: int) -> Iterator[Tuple[str, str]]:
    if at + 1 < len(lines) and all(map(STATEMENT.match, lines[at:at + 2])):
        first, second = lines[at:at + 2]
        depth = [len(line) - len(line.lstrip()) for line in (first, second)]
        if depth[0] == depth[1] and first != second:
            yield f"{first}\n{second}", f"{second}\n{first}"


def without_flag(lines: Sequence[str], at: int) -> Iterator[Tuple[str, str]]:
    for pattern in (FLAG_AFTER, FLAG_BEFORE):
        for found in pattern.finditer(outside_of_strings(lines[at])):
            yield lines[at], lines[at][:found.start()] + lines[at][found.end():]


def more(number: str) -> str:
    octal = number.startswith("0") and len(number) > 1
    return f"0{int(number, 8) + 1:o}" if octal else str(int(number) + 1)


def off_by_one(lines: Sequence[str], at: int) -> Iterator[Tuple[str, str]]:
    line = outside_of_strings(lines[at])
    for found in NUMBER.finditer(line):
        yield lines[at], lines[at][:found.start()] + more(found.group()) + lines[at][found.end():]
    for found in LESS.finditer(line):
        if "template" not in line and "<<" not in line:
            yield lines[at], (lines[at][:found.start(1)] + OTHER[found.group(1)]
                              + lines[at][found.end(1):])


KINDS: Dict[str, Callable[[Sequence[str], int], Iterator[Tuple[str, str]]]] = {
    "delete": deleted, "check": unchecked, "guard": unguarded, "swap": swapped,
    "flag": without_flag, "off-by-one": off_by_one,
}


def mutants_of(file: str, text: str, kinds: Sequence[str] = tuple(KINDS)) -> List[Generated]:
    """All changes of these kinds, in the order of the file."""
    lines = text.split("\n")
    found: List[Generated] = []
    seen: Dict[str, int] = collections.Counter()
    for at, line in enumerate(lines):
        for kind in kinds if is_code(line) else ():
            for old, new in KINDS[kind](lines, at):
                one = Generated(file, kind, at + 1, old, new)
                seen[one.id] += 1
                found.append(dataclasses.replace(one, nth=seen[one.id]))
    return found


def changed(text: str, mutant: Generated) -> str:
    lines = text.split("\n")
    size = mutant.old.count("\n") + 1
    assert "\n".join(lines[mutant.line - 1:mutant.line - 1 + size]) == mutant.old
    lines[mutant.line - 1:mutant.line - 1 + size] = [mutant.new]
    text = "\n".join(lines)
    if mutant.kind != "check":
        return text
    includes = [at for at, line in enumerate(lines) if line.startswith("#include")]
    at = includes[-1] + 1 if includes else 0
    return "\n".join([*lines[:at], UNCHECKED, *lines[at:]])
