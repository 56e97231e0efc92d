"""Grades submissions: one, or a class.

  python3 -m harness.grade --stage 05 --submission DIR
  python3 -m harness.grade --stage 05 --roster class.csv --submissions DIR --output results

A single submission is graded on this machine unless --in says otherwise; each of a class is graded
in a virtual machine of its own, which is thrown away. Each result is written as soon as it is
known, and a submission that has one already, and has not changed, is not graded again.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import csv
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
import re
import sys
import threading
import time
import traceback
from typing import Any, Dict, List, Optional, Sequence, Set, TextIO

from harness import matrix, places
from harness.grading import folders, html_report, report, writers
from harness.learning import doctor
from harness.agent_client import PlaceError
from harness.grading.foreign import with_values
from harness.grading.grader import Program, cases_for, grade_in
from harness.properties.model import PROMISE, Case, Grade, Outcome, Result
from harness.properties.scene import Tools
from harness.properties.table import PROPERTIES
from harness.properties.verdict import STAGES, USER
from harness.grading.submission import LARGEST, NotGradable, program_of

FORMATS = ("terminal", "html", "classroom50", *writers.FORMATS)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Seconds."""

    start: float  # of a container: what a few rows look at
    stage: float  # all starts together
    build: float


@dataclasses.dataclass(frozen=True)
class Task:
    """A submission to grade, or why there is none."""

    name: str
    path: pathlib.Path
    problem: str = ""


# --- One ------------------------------------------------------------------------------------------


def grade_one(task: Task, stage: str, tools: Tools, place: str, limits: Limits,
              lacks: Sequence[str] = ()) -> Grade:
    """Builds and grades it. Every problem of the submission is reported in the Grade."""
    start = time.monotonic()

    def no_grade(problem: str, log: str = "") -> Grade:
        return Grade(task.name, stage, unseen(stage, problem), problem, log,
                     time.monotonic() - start)

    if task.problem:
        return no_grade(task.problem)
    try:
        with folders.scratch_folder("submission-") as scratch:
            scratch.chmod(0o755)  # an ordinary user, too, has to be able to start the program in it
            built = program_of(task.path, stage, scratch, limits.build,
                               confined=place != places.CONTAINER)
            program = Program.of(str(built.path), stage)
            cases = cases_for(program, PROPERTIES, PROMISE)
            if place == places.CONTAINER:
                cases = in_a_container(cases, stage)
                forbidden = forbidden_here(stage)
                if forbidden:
                    skipped = [Result(case, Outcome.SKIPPED, case.property.holds, "", forbidden)
                               for case in cases]
                    return Grade(task.name, stage, skipped, seconds=time.monotonic() - start)
            with places.places(place, matrix.programs_of(tools), [program.path]) as where:
                results = grade_in(where, tools, cases, limits.start,
                                   time.monotonic() + limits.stage, lacks)
    except NotGradable as error:
        return no_grade(str(error), error.log)
    except PlaceError as error:
        return no_grade(str(error).splitlines()[0], str(error))
    except OSError as error:
        return no_grade(f"{error.filename or task.path}: {error.strerror}")
    except Exception as error:  # pylint: disable=broad-except  # the others are still graded
        return no_grade(f"grading it failed: {error!r}", traceback.format_exc())
    return Grade(task.name, stage, results, seconds=time.monotonic() - start)


def in_a_container(cases: Sequence[Case], stage: str) -> List[Case]:
    """If only its user id keeps a program from the grader's files, the program is started as an
    ordinary user, except for the stages that run only as root."""
    needs_root = stage in doctor.NEED_ROOT
    return [case for case in cases if needs_root or case.identity == USER]


def forbidden_here(stage: str) -> str:
    """Why no program of this stage, even a correct one, could run in this container; "" if one
    could.
    """
    needed = [operation for operation in doctor.OPERATIONS if stage in operation.stages]
    broken = [finding for finding in doctor.examine_all(needed) if not finding.works]
    return f"this container does not allow {broken[0].name}: {broken[0].seen}" if broken else ""


def unseen(stage: str, why: str) -> List[Result]:
    """The cases of a stage, none of which was looked at."""
    cases = cases_for(Program("", stage, f"{stage}_submission"), PROPERTIES, PROMISE)
    return [Result(case, Outcome.ERROR, case.property.holds, "nothing", why) for case in cases]


# --- A class --------------------------------------------------------------------------------------


def read_roster(roster: pathlib.Path, submissions: pathlib.Path) -> List[Task]:
    """One line per submission: a column `name`, and perhaps `submission`, a path; default: the
    name."""
    with open(roster, newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file)
        if "name" not in (lines.fieldnames or []):
            raise ValueError(f"{roster}: its first line has no column `name`")
        return tasks_of(list(lines), submissions)


def tasks_of(lines: Sequence[Dict[str, Optional[str]]], submissions: pathlib.Path) -> List[Task]:
    tasks: List[Task] = []
    names: Set[str] = set()
    for number, line in enumerate(lines, 2):
        name = (line.get("name") or "").strip()
        place = (line.get("submission") or "").strip() or name
        path = submissions / place
        if not name:
            tasks.append(Task(f"line {number}", path, f"line {number} of the roster has no name"))
        elif name in names:
            tasks.append(Task(f"{name} (line {number})", path, f"{name} is twice in the roster"))
        elif not is_below(submissions, place):
            tasks.append(Task(name, path, f"{place} is not below {submissions}"))
        elif path.resolve() != submissions.resolve() / os.path.normpath(place):
            # It could be someone else's submission.
            tasks.append(Task(name, path, f"{place} is a link, or its path has one in it"))
        elif not path.exists():
            tasks.append(Task(name, path, f"nothing was submitted: {path} does not exist"))
        else:
            tasks.append(Task(name, path))
        names.add(name)
    return tasks


def is_below(folder: pathlib.Path, place: str) -> bool:
    """A roster may also come from elsewhere."""
    real = (folder / place).resolve()
    return folder.resolve() in real.parents


class Results:
    """The folder of results: a file for each submission, a page for each, and the overview."""

    def __init__(self, folder: pathlib.Path, stage: str) -> None:
        self.folder = folder
        self.stage = stage
        folder.mkdir(parents=True, exist_ok=True)

    def file_of(self, task: Task, ending: str) -> pathlib.Path:
        """A roster may contain any name; two names that differ only in special characters get two
        files."""
        short = hashlib.sha256(task.name.encode(errors="surrogateescape")).hexdigest()[:6]
        return self.folder / f"{re.sub(r'[^A-Za-z0-9_-]+', '_', task.name)[:60]}-{short}{ending}"

    def load(self, task: Task) -> Optional[Grade]:
        """The existing result, if it is of the same submission."""
        try:
            saved = json.loads(self.file_of(task, ".json").read_text(encoding="utf-8"))
            if saved["submission"] != digest_of(task) or saved["stage"] != self.stage:
                return None
            return grade_from(saved)
        except (OSError, ValueError, KeyError):
            return None

    def save(self, task: Task, grade: Grade, level: int) -> None:
        told = {"submission": digest_of(task), **as_data(grade)}
        write_atomically(self.file_of(task, ".json"), writers.as_json(told))
        write_atomically(self.file_of(task, ".html"), html_report.submission(grade, level))

    def save_overview(self, tasks: Sequence[Task], grades: Sequence[Grade]) -> None:
        pages = {task.name: self.file_of(task, ".html").name for task in tasks}
        write_atomically(self.folder / "grades.csv", writers.csv_table(grades))
        write_atomically(self.folder / "index.html",
                         html_report.overview(f"Stage {self.stage}", grades, pages))


def write_atomically(path: pathlib.Path, text: str) -> None:
    """Writes the file by rename, so that a reader, or a later run after Ctrl-C, finds it
    complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        # A name need not be text, see filesystem encoding and error handler in Python's glossary.
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def digest_of(task: Task) -> str:
    """Changes whenever the submission changes."""
    told = hashlib.sha256(task.problem.encode(errors="surrogateescape"))
    told.update(folders.digest(task.path, LARGEST).encode())
    return told.hexdigest()


def as_data(grade: Grade) -> Dict[str, Any]:
    results = [{"property": result.case.property.name, "identity": result.case.identity,
                "label": result.case.label, "outcome": result.outcome.value, "got": result.got,
                "why": result.why, "command": result.command, "place": result.place}
               for result in grade.results]
    return {"name": grade.name, "stage": grade.stage, "score": grade.score,
            "max_score": grade.max_score, "problem": grade.problem, "log": grade.log,
            "seconds": grade.seconds, "results": results}


def grade_from(saved: Dict[str, Any]) -> Grade:
    rows = {row.name: row for row in PROPERTIES}
    results = []
    for one in saved["results"]:
        row = rows[one["property"]]
        case = Case(row, saved["stage"], "", one["label"], one["identity"], PROMISE)
        results.append(Result(case, Outcome(one["outcome"]), row.holds, one["got"], one["why"],
                              one["command"], one["place"]))
    return Grade(saved["name"], saved["stage"], results, saved["problem"], saved["log"],
                 saved["seconds"])


class Progress:
    """A bar on a terminal, otherwise a line for each."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self.total = total
        self.stream = stream
        self.done = 0

    def tell(self, grade: Grade, again: bool) -> None:
        self.done += 1
        what = grade.problem or f"{grade.score} of {grade.max_score}"
        line = report.on_one_line(f"{grade.name}: {what}") + (", as before" if again else "")
        if not self.stream.isatty():
            print(f"{self.done}/{self.total} {line}", file=self.stream, flush=True)
            return
        full = 24 * self.done // self.total
        bar = "#" * full + "." * (24 - full)
        end = "\n" if self.done == self.total else ""
        print(f"\r\033[K[{bar}] {self.done}/{self.total} {line[:50]}", end=end, file=self.stream,
              flush=True)


def grade_class(tasks: Sequence[Task], results: Results, arguments: argparse.Namespace,
                tools: Tools, limits: Limits) -> List[Grade]:
    """Grades them all, several at a time. Each result is on the disk before the next begins."""
    progress = Progress(len(tasks), sys.stderr)
    grades: Dict[str, Grade] = {}
    lock = threading.Lock()

    def work(task: Task) -> None:
        grade = None if arguments.again else results.load(task)
        again = grade is not None
        if grade is None:
            grade = grade_one(task, arguments.stage, tools, arguments.place, limits,
                              arguments.lacks)
            if places.stopped.is_set():
                return  # it was cut short
        with lock:
            if not again:
                results.save(task, grade, arguments.hints)
            grades[task.name] = grade
            progress.tell(grade, again)
            done = [grades[task.name] for task in tasks if task.name in grades]
            results.save_overview(tasks, done)

    pool = concurrent.futures.ThreadPoolExecutor(arguments.jobs)
    jobs = [pool.submit(work, task) for task in tasks]
    try:
        for job in concurrent.futures.as_completed(jobs):
            job.result()
    except BaseException:
        for job in jobs:
            job.cancel()
        places.stop_all()  # the programs that still run end with their machine
        raise
    finally:
        pool.shutdown(wait=True)
    return [grades[task.name] for task in tasks]


# --- The terminal ---------------------------------------------------------------------------------


def tell(grade: Grade, level: int, colour: bool) -> str:
    """The score, each property, and what to fix first. Texts are `shown`, because the colours are
    ours.
    """
    good, bad, dim, plain = ("\033[32m", "\033[31m", "\033[2m", "\033[0m") if colour else [""] * 4
    lines = [f"{report.on_one_line(grade.name)}, stage {grade.stage}", ""]
    if grade.problem:
        problem = report.on_one_line(grade.problem)
        return "\n".join(lines + [f"{bad}not graded: {problem}{plain}", report.shown(grade.log)])
    for stage in STAGES:
        rows: Dict[str, Dict[str, Outcome]] = {}
        for result in grade.results:
            if result.case.property.since == stage:
                outcomes = rows.setdefault(result.case.property.name, {})
                outcomes[result.case.identity] = result.outcome
        for name, outcomes in rows.items():
            marks = [report.MARKS[outcomes[who]] if who in outcomes else "" for who in outcomes]
            ink = good if set(marks) == {"+"} else bad if set(marks) & {"FAIL", "ERR"} else dim
            told = " ".join(f"{who} {mark}" for who, mark in zip(outcomes, marks))
            lines.append(f"  {stage:<4}{name:<36}{ink}{told}{plain}")
    groups = html_report.failures(grade.results)
    for number, group in enumerate(groups):
        ids = [report.on_one_line(result.case.id) for result in group]
        lines += ["", f"{bad}{'Fix first' if number == 0 else 'Then'}: {ids[0]}{plain}",
                  report.shown(writers.explain(group[0], level))]
        if group[1:]:
            lines.append(f"{dim}{len(group) - 1} more are blocked by it, such as {ids[1]}{plain}")
    full = 30 * grade.score // (grade.max_score or 1)
    lines += ["", f"{good}{'█' * full}{plain}{dim}{'░' * (30 - full)}{plain}"
              f" {writers.summary(grade)}"]
    return "\n".join(lines)


def write(grade: Grade, style: str, level: int, colour: bool) -> str:
    if style == "terminal":
        return tell(grade, level, colour) + "\n"
    if style == "html":
        return html_report.submission(grade, level)
    if style == "classroom50":
        return writers.classroom50(grade, os.environ, datetime.datetime.now(datetime.timezone.utc))
    return writers.FORMATS[style](grade, level)


# --- The command line -----------------------------------------------------------------------------


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="harness.grade", description=__doc__.split("\n", 1)[0],
        formatter_class=argparse.RawDescriptionHelpFormatter, epilog=__doc__.split("\n", 2)[2])
    parser.add_argument("--stage", required=True, choices=STAGES[1:], metavar="NN",
                        help=f"the stage that it implements: 01 to {STAGES[-1]}")
    what = parser.add_argument_group("what to grade")
    what.add_argument("--submission", "--binary", type=pathlib.Path, metavar="PATH",
                      help="a program, or a folder with build.sh, Makefile or BUILD.bazel")
    what.add_argument("--roster", type=pathlib.Path, metavar="CSV",
                      help="a class: a column `name`, and perhaps `submission`")
    what.add_argument("--submissions", type=pathlib.Path, metavar="DIR", help="those of the class")
    how = parser.add_argument_group("how")
    how.add_argument("--in", dest="place", choices=places.CHOICES, metavar="PLACE",
                     help=f"{places.HELP}; for a class: vm")
    how.add_argument("--host", dest="place", action="store_const", const="host",
                     help="grade a class on this machine: only if you trust each of its programs")
    how.add_argument("--lacks", action="append", default=[], metavar="OPTION",
                     help="an option that was not to be written, such as --init; may be repeated")
    how.add_argument("--time-limit", type=float, default=5.0, metavar="S", help="for each start")
    how.add_argument("--stage-limit", type=float, default=300.0, metavar="S", help="for all")
    how.add_argument("--build-limit", type=float, default=300.0, metavar="S", help="for the build")
    how.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N",
                     help="how many submissions of a class to grade at a time")
    how.add_argument("--again", action="store_true", help="grade submissions again that have a"
                                                          " result already")
    out = parser.add_argument_group("what to tell")
    out.add_argument("--hints", type=int, choices=range(4), default=1,
                     help="1: where to look, 2: the concept, 3: what to read; default: 1")
    out.add_argument("--format", choices=FORMATS, default="terminal")
    out.add_argument("--output", type=pathlib.Path, metavar="PATH",
                     help="a file; for a class: a directory, which can be read during the run")
    arguments = parser.parse_args(with_values(words))
    if (arguments.submission is None) == (arguments.roster is None):
        parser.error("give one of --submission and --roster")
    if arguments.roster and not (arguments.submissions and arguments.output):
        parser.error("--roster needs --submissions and --output")
    return arguments


def main(words: Sequence[str]) -> int:
    arguments = parse(words)
    tools = matrix.tools()
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    limits = Limits(arguments.time_limit, arguments.stage_limit, arguments.build_limit)
    try:
        if arguments.roster:
            return main_of_class(arguments, tools, limits)
        task = Task(arguments.submission.name or "submission", arguments.submission)
        grade = grade_one(task, arguments.stage, tools, arguments.place or places.ANYWHERE, limits,
                          arguments.lacks)
        colour = arguments.output is None and sys.stdout.isatty()
        text = write(grade, arguments.format, arguments.hints, colour)
        if arguments.output:
            write_atomically(arguments.output, text)
        else:
            sys.stdout.write(text.encode(errors="backslashreplace").decode())
        # These two read the results, and treat any other exit status as a broken grader.
        is_read = arguments.format in ("classroom50", "gradescope", "github-classroom")
        return 0 if is_read or grade.status == "passed" else 1
    except (ValueError, OSError) as error:
        print(f"harness.grade: {report.on_one_line(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        if arguments.roster:
            print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130


def main_of_class(arguments: argparse.Namespace, tools: Tools, limits: Limits) -> int:
    if arguments.place == "host":
        print("harness.grade: warning: their programs run on this machine, some as root",
              file=sys.stderr)
    arguments.place = arguments.place or "vm"
    tasks = read_roster(arguments.roster, arguments.submissions)
    known = {task.path.resolve() for task in tasks}
    for other in sorted(arguments.submissions.iterdir()):
        if other.resolve() not in known:
            print(f"harness.grade: warning: {report.on_one_line(other.name)} is not in any line of"
                  " the roster", file=sys.stderr)
    grades = grade_class(tasks, Results(arguments.output, arguments.stage), arguments, tools,
                         limits)
    graded = [grade for grade in grades if not grade.problem]
    print(f"{len(graded)} of {len(grades)} graded; see {arguments.output / 'index.html'}")
    return 0
