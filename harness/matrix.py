"""Prints the matrix of a program, or of several.

  python3 -m harness.matrix --binary PATH --stage 05
  bazel run //harness:matrix
  bazel run //harness:matrix -- --binary ./my_container --stage 05
  bazel run //harness:matrix -- --in vm:6.12
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import shlex
import sys
import time
from typing import Dict, List, Optional, Sequence

from harness import places
from harness.grading import report
from harness.grading.foreign import (EVERY_OPTION, BadTemplate, adapter_for, copy_of,
                                     with_values)
from harness.grading.grader import Program, cases_for, cases_of_stage, grade_in
from harness.properties.model import PROMISE, Case, Result
from harness.properties.scene import Tools
from harness.properties.table import PROPERTIES
from harness.properties.verdict import ROOT, STAGES, USER, stage_number

BUILT = pathlib.Path("bazel-bin")


def find(variable: str, built: str) -> str:
    """A program of the harness itself: Bazel passes its path, otherwise it is where Bazel builds
    it."""
    path = pathlib.Path(os.environ.get(variable) or BUILT / built)
    if not path.exists():
        sys.exit(f"{path} does not exist.\nTry:  bazel build //harness:programs")
    return str(path.resolve())


def tools() -> Tools:
    return Tools(find("HARNESS_AGENT", "harness/agent/agent"),
                 find("HARNESS_PROBE", "harness/probe/static/probe"),
                 find("HARNESS_BUSYBOX", "/bin/busybox"))


def stages_of_this_toolkit() -> Dict[str, Program]:
    """The stages that Bazel has built, and the control, by stage."""
    words = os.environ.get("HARNESS_STAGES", "").split()
    if not words:
        words = [str(path) for path in sorted(BUILT.glob("stages/*/[0-9]*_*"))
                 if path.name == path.parent.name and path.name.split("_")[0] in STAGES]
        words.append(str(BUILT / "harness/controls/00_naive"))
    programs = [Program.of(path, os.path.basename(path)) for path in words if os.path.exists(path)]
    return {program.stage: program for program in programs}


def stage_before(stage: str, programs: Dict[str, Program]) -> Optional[Program]:
    earlier = [other for other in programs if stage_number(other) < stage_number(stage)]
    return programs[max(earlier, key=stage_number)] if earlier else None


def choose(arguments: argparse.Namespace) -> List[Case]:
    rows = [row for row in PROPERTIES
            if not arguments.property or row.name in arguments.property]
    identities = arguments.identities or (ROOT, USER)
    if arguments.binary:
        program = Program.of(arguments.binary, arguments.stage)
        return cases_for(program, rows, PROMISE, identities)
    programs = stages_of_this_toolkit()
    cases: List[Case] = []
    for stage, program in sorted(programs.items(), key=lambda item: stage_number(item[0])):
        if stage != "00" and (not arguments.stage or arguments.stage.split("_")[0] == stage):
            before = stage_before(stage, programs)
            cases += cases_of_stage(program, before, rows, identities)
    return cases


def programs_of(own: Tools, cases: Sequence[Case] = ()) -> List[str]:
    """Everything that a place has to contain."""
    return [own.agent, own.probe, own.busybox, *sorted({case.program for case in cases})]


def to_paste(result: Result, template: str) -> Result:
    """With the command line of a program that has no options in place of its adapter's."""
    start = template.replace("{root}", "$ROOT").replace("{command}", "").replace("{line}", "")
    path, theirs = result.case.program, shlex.split(template)[0]
    command = result.command.replace(f"{path} --rootfs $ROOT -- ", start)
    why, got = (text.replace(copy_of(path), theirs) for text in (result.why, result.got))
    return dataclasses.replace(result, command=command.replace(f"{path} -- ", start), why=why,
                               got=got)


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="harness.matrix",
                                     description="Which isolation properties does a program have?")
    parser.add_argument("--binary", help="the program; default: the stages of this toolkit")
    parser.add_argument("--command", metavar="TEMPLATE", help="for a program that has no options:"
                        " 'my run {root} {command}'; {line} is the command as one word")
    parser.add_argument("--lacks", action="append", default=[], metavar="OPTION", help="an option"
                        " that the program does not have, such as --init; may be repeated")
    parser.add_argument("--with", dest="beside", action="append", default=[], metavar="FILE",
                        help="what the program needs beside itself in a virtual machine; may be"
                        " repeated")
    parser.add_argument("--stage", default="", help="such as 05: the stage that it claims to be")
    parser.add_argument("--property", action="append", help="only this one; may be repeated")
    parser.add_argument("--as", dest="identities", action="append", choices=(ROOT, USER),
                        help="the user who starts it; default: both")
    parser.add_argument("--in", dest="place", choices=places.CHOICES, default=places.ANYWHERE,
                        help=places.HELP, metavar="PLACE")
    parser.add_argument("--failing", action="store_true",
                        help="print only the names of the properties that fail")
    parser.add_argument("--time-limit", type=float, default=5.0, help="seconds for each start")
    arguments = parser.parse_args(with_values(words))
    if arguments.binary and arguments.command:
        parser.error("give one of --binary and --command")
    if (arguments.binary or arguments.command) and not arguments.stage:
        parser.error("--binary and --command need --stage")
    return arguments


def main(words: Sequence[str]) -> int:
    arguments = parse(words)
    own = tools()
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    start = time.monotonic()
    try:
        with contextlib.ExitStack() as stack:
            if arguments.command:
                arguments.binary, beside = stack.enter_context(adapter_for(arguments.command))
                arguments.beside += beside
                arguments.lacks.append(EVERY_OPTION)
            cases = choose(arguments)
            ours, theirs = ([], cases) if arguments.binary else (cases, [])
            where = stack.enter_context(places.places(
                arguments.place, programs_of(own, ours),
                [*sorted({case.program for case in theirs}), *arguments.beside]))
            results = grade_in(where, own, cases, arguments.time_limit, lacks=arguments.lacks)
            if arguments.command:
                results = [to_paste(result, arguments.command) for result in results]
    except BadTemplate as error:
        print(f"harness.matrix: {error}", file=sys.stderr)
        return 2
    bad = [result for result in results if result.is_bad]
    if arguments.failing:
        print("\n".join(sorted({result.case.property.name for result in bad})))
    else:
        print(report.report(results))
        print(f"{time.monotonic() - start:.2f} s")
    return 1 if bad or not results else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
