"""Makes mutants by kinds instead of by hand, builds each one and says which of them no row sees.

  bazel run //harness/mutants:generate -- --stage 05 --list
  bazel run //harness/mutants:generate -- --stage 05 --count 40 --seed 1
  bazel run //harness/mutants:generate -- --stage 05 --kind check --file id_map.cc

A mutant is one change in one file of a layer. It is compiled with the commands of Bazel's plan and
linked with everything else as it is. A survivor is a row that is missing, or is equivalent: then
survivors.txt says why, and it is counted as explained.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import dataclasses
import hashlib
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from typing import Callable, Dict, Iterator, List, Sequence, Tuple

from harness import matrix
from harness.grading.grader import Grader, Program, cases_for
from harness.properties.model import PROMISE, Outcome
from harness.properties.scene import Tools
from harness.properties.table import PROPERTIES
from harness.properties.verdict import ROOT, STAGES, USER

HERE = pathlib.Path(__file__).parent
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

    @property
    def id(self) -> str:
        """The same for as long as the changed text is: what survivors.txt names."""
        told = hashlib.sha256(f"{self.kind}\0{self.old}\0{self.new}".encode()).hexdigest()[:8]
        return f"{self.file}:{self.kind}:{told}"

    @property
    def dropped_flag(self) -> str:
        """Such as "flag O_CLOEXEC": what survivors.txt may name instead of an id."""
        if self.kind != "flag":
            return ""
        gone = (collections.Counter(re.findall(r"\w+", self.old))
                - collections.Counter(re.findall(r"\w+", self.new)))
        return f"flag {' '.join(gone)}"

    def tell(self) -> str:
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.file}:{self.line} {self.kind}: {old}  =>  {new or '(nothing)'}"


# --- The kinds ------------------------------------------------------------------------------------

# A call that stands alone, on one line. A declaration or a return is none.
STATEMENT = re.compile(r"^\s+(?:\(void\))?[\w:.>-]+\(.*\);\s*(?://.*)?$")
FLAG_AFTER = re.compile(r" \| [A-Z][A-Z0-9_]{3,}\b")
FLAG_BEFORE = re.compile(r"\b[A-Z][A-Z0-9_]{3,} \| ")
CHECK = re.compile(r"\bcheck(?:_quietly)?\(")
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


def off_by_one(lines: Sequence[str], at: int) -> Iterator[Tuple[str, str]]:
    line = outside_of_strings(lines[at])
    for found in NUMBER.finditer(line):
        yield lines[at], (lines[at][:found.start()] + str(int(found.group()) + 1)
                          + lines[at][found.end():])
    for found in LESS.finditer(line):
        if "template" not in line and "<<" not in line:
            yield lines[at], (lines[at][:found.start(1)] + OTHER[found.group(1)]
                              + lines[at][found.end(1):])


KINDS: Dict[str, Callable[[Sequence[str], int], Iterator[Tuple[str, str]]]] = {
    "delete": deleted, "check": unchecked, "swap": swapped, "flag": without_flag,
    "off-by-one": off_by_one,
}


def mutants_of(file: str, text: str, kinds: Sequence[str] = tuple(KINDS)) -> List[Generated]:
    """All changes of these kinds, in the order of the file."""
    lines = text.split("\n")
    return [Generated(file, kind, at + 1, old, new) for at, line in enumerate(lines)
            if is_code(line) for kind in kinds for old, new in KINDS[kind](lines, at)]


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


# --- How they are built ---------------------------------------------------------------------------


class Plan:
    """Bazel's commands for one stage's program, whose parts are all built."""

    def __init__(self, stage: str) -> None:
        self.target = f"//stages/{stage}"
        self.program = f"bazel-bin/stages/{stage}/{stage}"
        bazel("build", self.target)
        plan = json.loads(bazel("aquery", f'mnemonic("CppCompile", deps({self.target}))',
                                "--output=jsonproto"))
        self.compilations: Dict[str, List[str]] = {}
        for action in plan.get("actions", []):
            words = action["arguments"]
            source = words[words.index("-c") + 1]
            if source.startswith("stages/") and ".pic.o" in words[words.index("-o") + 1]:
                self.compilations[source] = words
        params = pathlib.Path(os.path.realpath(self.program) + "-2.params")
        self.link = params.read_text(encoding="utf-8").splitlines()
        self.folder = bazel("info", "execution_root").strip()

    def files(self) -> List[str]:
        """The sources of this stage's own layers."""
        own = self.target[2:] + "/"
        return sorted(source for source in self.compilations if source.startswith(own))

    def build(self, mutant: Generated, text: str, folder: pathlib.Path) -> str:
        """The mutant's program; "" if no compiler takes it."""
        words = list(self.compilations[mutant.file])
        source, program = folder / os.path.basename(mutant.file), folder / "mutant"
        source.write_text(changed(text, mutant), encoding="utf-8")
        there = words[words.index("-o") + 1]
        words[words.index("-c") + 1] = str(source)
        words[words.index("-o") + 1] = str(folder / "mutant.o")
        words = [word for word in words if word not in ("-MD", "-MF") and not word.endswith(".d")
                 and not word.startswith("-Werror")] + ["-O0", "-w"]
        link = [str(folder / "mutant.o") if word == there else word for word in self.link]
        link[link.index("-o") + 1] = str(program)
        for command in (words, [words[0], *link]):
            done = subprocess.run(command, cwd=self.folder, check=False, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            if done.returncode != 0:
                return ""
        return str(program)


def bazel(*words: str) -> str:
    quiet = [] if words[0] == "info" else ["--ui_event_filters=-info", "--noshow_progress"]
    program = shutil.which("bazel") or shutil.which("bazelisk") or "bazel"
    done = subprocess.run([program, *words, *quiet], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:  # bazel has said why
        sys.exit(f"generate: bazel {words[0]} failed")
    return done.stdout


# --- What becomes of them -------------------------------------------------------------------------


def explained() -> Dict[str, str]:
    """Survivors that were looked at: id, or "flag NAME" -> why no row can see it."""
    lines = (HERE / "survivors.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("  ") for line in lines if line and not line.startswith("#"))
    return {name: why.strip() for name, _, why in pairs}


def judge(plan: Plan, mutant: Generated, text: str, tools: Tools, stage: str,
          place: pathlib.Path) -> Tuple[str, List[str]]:
    """What became of it: "killed", "survived", or "not built"; and the rows that see it."""
    with tempfile.TemporaryDirectory(dir=place) as name:
        folder = pathlib.Path(name)
        folder.chmod(0o755)
        program = plan.build(mutant, text, folder)
        if not program:
            return "not built", []
        cases = cases_for(Program.of(program, stage), PROPERTIES, PROMISE,
                          (ROOT, USER) if os.geteuid() == 0 else (USER,))
        results = Grader(tools).grade(cases)
    seen = {result.case.property.name for result in results
            if result.outcome in (Outcome.FAILED, Outcome.ERROR)}
    return ("killed" if seen else "survived"), sorted(seen)


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="harness.mutants.generate",
                                     description=__doc__.split("\n", 1)[0])
    parser.add_argument("--stage", required=True, choices=STAGES[1:], metavar="NN")
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), help="may be repeated")
    parser.add_argument("--file", help="only this file of the stage")
    parser.add_argument("--count", type=int, default=0,
                        help="at most this many, chosen by --seed; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="build none of them")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    arguments = parse(words)
    tools = matrix.tools()  # before the folder changes: Bazel names them from here
    os.chdir(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    stage = next(path.name for path in sorted(pathlib.Path("stages").glob(f"{arguments.stage}_*")))
    plan = Plan(stage)
    texts = {file: pathlib.Path(file).read_text(encoding="utf-8") for file in plan.files()
             if not arguments.file or os.path.basename(file) == arguments.file}
    found = [mutant for file, text in texts.items()
             for mutant in mutants_of(file, text, arguments.kind or tuple(KINDS))]
    if arguments.count:
        found = random.Random(arguments.seed).sample(found, min(arguments.count, len(found)))
    if arguments.list:
        print("\n".join(f"{mutant.id}  {mutant.tell()}" for mutant in found))
        return 0
    known = explained()
    # What fails for other reasons than the change, such as how the program is built, is no merit.
    file, text = next(iter(texts.items()))
    unchanged = Generated(file, "none", 1, text.split("\n")[0], text.split("\n")[0])
    counts: Dict[str, int] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-", dir="/tmp") as name, \
            concurrent.futures.ThreadPoolExecutor(1) as pool:
        os.chmod(name, 0o755)
        _, always = judge(plan, unchanged, text, tools, arguments.stage, pathlib.Path(name))
        jobs = [(mutant, pool.submit(judge, plan, mutant, texts[mutant.file], tools,
                                     arguments.stage, pathlib.Path(name))) for mutant in found]
        for mutant, job in jobs:
            became, rows = job.result()
            rows = [row for row in rows if row not in always]
            if became == "killed" and not rows:
                became = "survived"
            if became == "survived" and {mutant.id, mutant.dropped_flag} & set(known):
                became = "explained"
            counts[became] = counts.get(became, 0) + 1
            more = ", ".join(rows[:3]) + (f" and {len(rows) - 3} more" if rows[3:] else "")
            print(f"{became:<10} {mutant.id}  {mutant.tell()}  {more}", flush=True)
    print("; ".join(f"{count} {became}" for became, count in sorted(counts.items())) or "none")
    if always:
        print(f"not counted, as they fail without a change, too: {', '.join(always)}")
    print(f"again: generate {shlex.join(words)}")
    return 1 if counts.get("survived") else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
