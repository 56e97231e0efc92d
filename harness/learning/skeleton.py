"""Makes a skeleton of a stage: its layer without the functions that a learner writes, and the
main.cc of the stage before with a TODO at each line that changes.

Nothing is written twice. The headers are the stage's own. The TODOs in main.cc come from the table
"What changes in main.cc" of the stage's page. What only a removed body used is removed with it.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from typing import Dict, Iterable, List, Sequence, Set, Tuple

from slides import definitions, step

WIDTH = 100
NO_NAMES = {"", "fs", "struct", "class", "enum", "union"}


@dataclasses.dataclass(frozen=True)
class Todo:
    """A function to write. `code` stands in its body until then, so that the skeleton builds."""

    file: str  # of the stage's folder
    function: str
    milestone: int  # 1 is the first
    text: str  # what it has to do; never how our code does it
    code: str = ""


def comment(text: str, indent: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH, initial_indent=f"{indent}// ",
                                   subsequent_indent=f"{indent}// "))


# --- A layer's file -------------------------------------------------------------------------------


def cut(text: str, todos: Sequence[Todo], headers: str) -> str:
    """A source with the bodies of these functions replaced; `headers` are those of its folder."""
    for todo in todos:
        text = cut_function(text, todo)
    used_elsewhere = set(re.findall(r"\w+", definitions.blank_out(headers)))
    used_elsewhere.update(name for todo in todos for name in names_told(todo))
    while (shorter := without_unused(text, used_elsewhere)) != text:
        text = shorter
    return re.sub(r"\n{3,}", "\n\n", text)


def cut_function(text: str, todo: Todo) -> str:
    found = [one for one in definitions.find(text, todo.function) if one.has_body]
    if len(found) != 1:
        raise ValueError(f"{todo.file} has {len(found)} functions {todo.function}, not one")
    one = found[0]
    brace, _ = definitions.statement(definitions.blank_out(text), one.begin, one.end)
    body = comment(f"TODO (milestone {todo.milestone}): {todo.text}", "  ")
    code = "".join(f"\n  {line}" for line in todo.code.splitlines())
    header = text[one.begin:brace].rstrip()
    return (text[:definitions.with_comment_above(text, one.begin)] + header
            + " {\n" + body + code + "\n}" + text[one.end:])


def names_told(todo: Todo) -> Set[str]:
    """Functions, types and constants of ours that the text sends the learner to, but man pages."""
    return set(re.findall(r"\b\w+(?=\((?!\d\)))|\bk[A-Z]\w+|\b[A-Z]\w*(?=::)", todo.text))


def without_unused(text: str, used_elsewhere: Set[str]) -> str:
    """Without those of its own functions, types and constants that nothing names any more."""
    code = definitions.blank_out(text)
    ranges: Dict[str, List[Tuple[int, int]]] = {}
    for one in definitions.definitions(text):
        ranges.setdefault(one.name.split("::")[0], []).append((one.begin, one.end))
    unused = [name for name, places in ranges.items()
              if name not in NO_NAMES | used_elsewhere and not is_named(name, code, places)]
    places = sorted((place for name in unused for place in ranges[name]), reverse=True)
    last = len(text)
    for begin, end in places:
        if end <= last:  # a member that is in its type has gone with that
            begin = definitions.with_comment_above(text, begin)
            text, last = text[:begin] + text[end:].lstrip("\n"), begin
    return text


def is_named(name: str, code: str, places: Iterable[Tuple[int, int]]) -> bool:
    return any(not any(begin <= match.start() < end for begin, end in places)
               for match in re.finditer(rf"\b{re.escape(name)}\b", code))


# --- main.cc --------------------------------------------------------------------------------------


def main_with_todos(before: str, after: str, page: str, todos: Sequence[Todo]) -> str:
    """`before`, with the includes and the options of `after`, and a TODO for all else."""
    milestones = {todo.function.split("::")[-1]: todo.milestone for todo in todos}
    objects = milestones_of_objects(after, todos)
    lines: List[str] = []
    parsed = False  # the command line: what comes before declares the options, which are given
    for hunk in step.hunks_of(before.splitlines(), after.splitlines(), step.reasons_of(page)):
        if hunk.same or not parsed:
            kept = [line for line in hunk.before if line.startswith("#include")]
            lines += hunk.after + [line for line in kept if line not in hunk.after]
        else:
            lines += with_todos(hunk, milestones, objects)
        parsed = parsed or any(line.strip() == "line.parse();" for line in hunk.after)
    return "\n".join(lines) + "\n"


def milestones_of_objects(main: str, todos: Sequence[Todo]) -> Dict[str, int]:
    """Of each class with something to write, and of its objects in main.cc, the first milestone."""
    classes: Dict[str, int] = {}
    for todo in todos:
        if "::" in todo.function:
            name = todo.function.split("::")[0]
            classes[name] = min(todo.milestone, classes.get(name, todo.milestone))
    made = re.findall(r"^ *(?:const )?(\w+) (\w+)[(;]", main, re.MULTILINE)
    return {**classes, **{name: classes[kind] for kind, name in made if kind in classes}}


def with_todos(hunk: step.Hunk, milestones: Dict[str, int],
               objects: Dict[str, int]) -> List[str]:
    """The old lines, with a TODO for each new one: the page's reason, and the names of what has to
    be called. It stands above the line that is replaced, or below if the new line comes later."""
    indent = next((re.match(r" *", line).group() for line in hunk.changed if line.strip()), "")
    above: List[str] = []
    below: List[str] = []
    replaced = line_in_place_of(hunk)
    told = set()
    for at, line in enumerate([*hunk.after, *hunk.before]):
        reasons = [reason for reason in hunk.reasons if reason.code in line]
        texts = [f"TODO{milestone_of(reason.code, milestones, objects)}, {names_of(reason.code)}: "
                 + step.plain(reason.why) for reason in reasons if reason not in told]
        told.update(reasons)
        if not reasons and line in hunk.after and line not in hunk.before:
            texts = [f"TODO{milestone_of(line, milestones, objects)}, {name}"
                     for name in [without_reason(line)] if name]
        later = replaced < at < len(hunk.after)
        (below if later else above).extend(comment(text, indent) for text in texts)
    return above + hunk.before + below


def without_reason(line: str) -> str:
    """What a line makes or calls of which the page says no more."""
    called = re.findall(r"(?<!if )\b[a-z_]+(?=\()", line.split("//")[0])
    if made := re.match(r" *(?:const )?[\w:]+ (\w+)(?:;| =)", line):
        return f"{made.group(1)} is made here" + (f", by {called[0]}()" if called else "")
    return f"{called[0]}()" if called else ""


def line_in_place_of(hunk: step.Hunk) -> int:
    """The last new line that calls what an old one calls; one past the last if none does."""
    called = set(re.findall(r"\w+(?=\()", "\n".join(hunk.before)))
    return max((at for at, line in enumerate(hunk.after)
                if called & set(re.findall(r"\w+(?=\()", line))), default=len(hunk.after))


def milestone_of(code: str, milestones: Dict[str, int], objects: Dict[str, int]) -> str:
    """That of the functions which it calls; of given functions, that of the objects it names."""
    words = re.findall(r"\w+", code)
    found = ([milestones[name] for name in words if name in milestones]
             or [objects[name] for name in words if name in objects])
    return f" (milestone {min(found)})" if found else ""


def names_of(code: str) -> str:
    """What a line of main.cc calls or declares, without the arguments."""
    if declared := re.match(r"(?:const )?([A-Z]\w+ \w+)\(", code):
        return declared.group(1)
    if variable := re.fullmatch(r"const auto (\w+) =", code):
        return variable.group(1)
    called = re.findall(r"[A-Za-z_][\w.]*(?=\()", code)
    names = [f"{name}()" for at, name in enumerate(dict.fromkeys(called))
             if at == 0 or "." not in name]
    return ", ".join(names) or code.rstrip(" ;|").strip()
