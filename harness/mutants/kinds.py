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


# --- What is no mistake ---------------------------------------------------------------------------

# close_all_but() closes all of them, too, before a program is executed.
CLOSED_ANYWAY = re.compile(r"CLOEXEC\b")
# The kernel writes revents before anybody reads them, and a larger buffer is as good.
POLLED = re.compile(r"POLL\w*, (\d+)\}")
BUFFER = re.compile(r"^\s*(?:char|int) \w+\[(\d+)\];|std::array<char, (\d+)>")
DECLARED = re.compile(r"(\w+) = (\d+)[,;]")
# Their last argument is a set of flags, so 0 is none, and no count.
WITH_FLAGS = re.compile(r"(?:\b|SYS_)(?:f?setxattr|lsetxattr|waitpid|send|sendto|sendmsg|recv|"
                        r"recvmsg|accept4|pidfd_open|pidfd_send_signal|unlinkat|linkat|fstatat|"
                        r"process_vm_readv|memfd_create|close_range|getrandom)$")
# Nothing at all can begin at 0 and at 1, too, but what consists of one character.
LOOKS_BACK = re.compile(r"\brfind$")
# Their order is that of --help.
OPTION = re.compile(r"\badd_(?:option|flag)\(")


def is_written_before_it_is_read(lines: Sequence[str], at: int, name: str) -> bool:
    """As an argument `&name`, which is how the kernel gives results."""
    named = re.compile(rf"(&?)\b{name}\b")
    for line in lines[at + 1:]:
        found = named.search(line)
        if found:
            return bool(found.group(1))
    return False


def called_with(line: str, end: int) -> str:
    """What stands before the parenthesis that is still open at `end`."""
    depth = 0
    for at in range(end - 1, -1, -1):
        depth += {")": 1, "(": -1}.get(line[at], 0)
        if depth < 0:
            return line[:at]
    return ""


def is_no_count(lines: Sequence[str], at: int, number: re.Match) -> bool:
    """Whether it makes no difference by design that this number is one more."""
    line = outside_of_strings(lines[at])
    if line[:number.start()].endswith("-") and number.group() == "1":
        return True  # -1 reports an error, and is not counted: see "check" and "guard"
    groups = [found.span(group) for pattern in (POLLED, BUFFER) for found in pattern.finditer(line)
              for group in range(1, pattern.groups + 1)]
    if number.span() in groups:
        return True
    if number.group() == "0" and line[number.end():].startswith(")"):
        before = called_with(line, number.start())
        arguments = line[len(before):number.start()]
        # The call pidfd_open(2) has no wrapper: syscall(SYS_pidfd_open, ...).
        if before.endswith("syscall"):
            before = arguments[1:].partition(",")[0]
        if arguments.endswith(", ") and (WITH_FLAGS.search(before) or LOOKS_BACK.search(before)):
            return True
    return any(found.span(2) == number.span() and is_written_before_it_is_read(lines, at,
                                                                               found.group(1))
               for found in DECLARED.finditer(line) if not re.match(r"^\s*(?:for|const)", line))


# --- The kinds ------------------------------------------------------------------------------------

# A call that stands alone, on one line. A declaration or a return is none.
STATEMENT = re.compile(r"^\s+(?:\(void\))?[\w:.>-]+\(.*\);\s*(?://.*)?$")
FLAG_AFTER = re.compile(r" \| [A-Z][A-Z0-9_]{3,}\b")
FLAG_BEFORE = re.compile(r"\b[A-Z][A-Z0-9_]{3,} \| ")
CHECK = re.compile(r"\bcheck(?:_quietly)?\(")
GUARD = re.compile(r"(?:^|\s)(throw (?!;))|^\s*if \(.*\) (?=((?:return|continue|break)\b))")
FAILED = re.compile(r"^\s*if \((.* == -1.*)\) \{$")
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
    """What is noticed has no consequence: `throw X;` becomes `if (false) throw X;`, and
    `if (open(x) == -1) {` becomes `if (false && (open(x) == -1)) {`."""
    block = FAILED.match(outside_of_strings(lines[at]))
    if block:
        start, end = block.span(1)
        yield lines[at], (lines[at][:start] + "false && (" + lines[at][start:end] + ")"
                          + lines[at][end:])
    for found in GUARD.finditer(outside_of_strings(lines[at])):
        start = max(found.start(1), found.start(2))
        yield lines[at], lines[at][:start] + "if (false) " + lines[at][start:]


def swapped(lines: Sequence[str], at: int) -> Iterator[Tuple[str, str]]:
    if at + 1 < len(lines) and all(map(STATEMENT.match, lines[at:at + 2])):
        first, second = lines[at:at + 2]
        depth = [len(line) - len(line.lstrip()) for line in (first, second)]
        options = OPTION.search(first) and OPTION.search(second)
        if depth[0] == depth[1] and first != second and not options:
            yield f"{first}\n{second}", f"{second}\n{first}"


def without_flag(lines: Sequence[str], at: int) -> Iterator[Tuple[str, str]]:
    kept = {lines[at][:found.start()] + lines[at][found.end():]: None  # in order, each one once
            for pattern in (FLAG_AFTER, FLAG_BEFORE)
            for found in pattern.finditer(outside_of_strings(lines[at]))
            if not CLOSED_ANYWAY.search(found.group())}
    for line in kept:
        yield lines[at], line


def more(number: str) -> str:
    octal = number.startswith("0") and len(number) > 1
    return f"0{int(number, 8) + 1:o}" if octal else str(int(number) + 1)


def off_by_one(lines: Sequence[str], at: int) -> Iterator[Tuple[str, str]]:
    line = outside_of_strings(lines[at])
    for found in NUMBER.finditer(line):
        if is_no_count(lines, at, found):
            continue
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
