"""Makes mutants by kinds instead of by hand, and says which of them no row and no test sees.

  bazel run --config=root //harness/mutants:generate -- --stage 05 --list
  bazel run --config=root //harness/mutants:generate -- --stage 05 --count 40 --seed 1
  bazel run --config=root //harness/mutants:generate -- --count 600 --results survivors.jsonl

A mutant is one change in one file of a layer. Those that no compiler takes, or of which it makes
the same code, are none. A survivor is a row or a test that is missing, or it is equivalent: then
survivors.txt says why, and it counts as explained. What is in the file of --results is not done
again.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import resource
import shlex
import shutil
import sys
import tempfile
import threading
import time
from typing import Dict, Iterator, List, Sequence, TextIO

from harness import matrix
from harness.agent_client import HOST
from harness.faults.world import remove_left_cgroups
from harness.mutants.build import Builder, NotBuilt
from harness.mutants.judge import ASKS, CGROUP, Judge, Look
from harness.mutants.kinds import KINDS, Generated, mutants_of

HERE = pathlib.Path(__file__).parent
COMPLETE = "08c_network"  # has all the layers that every machine can have
NO_MUTANT = ("not built", "same code")
WIDTH = 30  # of the bar


def explained() -> Dict[str, str]:
    """Survivors that were looked at: as survivors.txt names them -> why no row can see it."""
    lines = (HERE / "survivors.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("  ") for line in lines if line and not line.startswith("#"))
    return {name: why.strip() for name, _, why in pairs}


class Results:
    """What became of each mutant, by id; kept in a file, a line of JSON each."""

    def __init__(self, path: str) -> None:
        self.path = pathlib.Path(path) if path else None
        self.found: Dict[str, Dict] = {}
        if self.path and self.path.exists():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                one = json.loads(line)
                self.found[one["id"]] = one

    def add(self, mutant: Generated, became: str, seen_by: str) -> None:
        one = {"id": mutant.id, "became": became, "by": seen_by, "told": mutant.tell()}
        self.found[mutant.id] = one
        if self.path:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(one) + "\n")

    def of(self, became: str) -> List[str]:
        return [name for name, one in self.found.items() if one["became"] == became]

    def counted(self, mutants: Dict[str, Generated]) -> int:
        return sum(one["became"] not in NO_MUTANT for name, one in self.found.items()
                   if name in mutants)


def is_explained(one: Dict, known: Dict[str, str], mutants: Dict[str, Generated]) -> bool:
    mutant = mutants.get(one["id"])
    return one["id"] in known or mutant is not None and not mutant.names.isdisjoint(known)


def table(results: Results, known: Dict[str, str], mutants: Dict[str, Generated]) -> str:
    """A line for each stage: what has seen the mutants, and what has not."""
    heads = ("unit test", "row", "behaviour", "fault", "explained", "unexplained")
    lines: Dict[str, Dict[str, int]] = {}
    for one in results.found.values():
        if one["became"] in NO_MUTANT:
            continue
        kind = {"unit": "unit test", "row": "row", "test": "behaviour",
                "fault": "fault"}.get(
            one["by"].partition(" ")[0], "unexplained")
        if one["became"] == "survived" and is_explained(one, known, mutants):
            kind = "explained"
        for stage in (one["id"].split("/")[1], "all"):
            counts = lines.setdefault(stage, dict.fromkeys(heads, 0))
            counts[kind] += 1
    told = [f"{'stage':<14} {'mutants':>8}" + "".join(f" {head:>11}" for head in heads)]
    for stage, counts in sorted(lines.items()):
        total = sum(counts.values())
        told.append(f"{stage:<14} {total:>8}" + "".join(f" {counts[head]:>11}" for head in heads)
                    + f"  {100 * counts['unexplained'] / total:.1f} %")
    return "\n".join(told)


def progress(done: int, wanted: int, results: Results, started: float, before: int) -> str:
    part = min(1.0, done / wanted) if wanted else 1.0
    bar = "#" * round(WIDTH * part)
    passed = time.monotonic() - started
    left = passed / max(1, done - before) * max(0, wanted - done) / 60
    return (f"[{bar:.<{WIDTH}}] {done}/{wanted}  {len(results.of('killed'))} killed,"
            f" {len(results.of('survived'))} survived, {left:.0f} min left")


def judge_all(todo: Iterator[Generated], wanted: int, mutants: Dict[str, Generated],
              known: Dict[str, str], texts: Dict[str, str], judges: Dict[str, Judge],
              results: Results, jobs: int, out: TextIO) -> None:
    """Until `wanted` of them were mutants; several at a time, each thread takes the next."""
    lock, started, before = threading.Lock(), time.monotonic(), results.counted(mutants)

    def work() -> None:
        while True:
            with lock:
                mutant = next(todo, None) if results.counted(mutants) < wanted else None
            if mutant is None:
                return
            became, seen_by = judges[stage_of(mutant)].judge(
                mutant, texts[mutant.file], is_explained({"id": mutant.id}, known, mutants))
            with lock:
                results.add(mutant, became, seen_by)
                told = f"{became:<10} {mutant.id}  {mutant.tell()}  {seen_by}"
                if out.isatty():
                    out.write("\r\x1b[K")
                print(told, flush=True)
                bar = progress(results.counted(mutants), wanted, results, started, before)
                out.write(bar if out.isatty() else "")
                out.flush()
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for job in [pool.submit(work) for _ in range(jobs)]:
            job.result()
    out.write("\n" if out.isatty() else "")


def drawn(mutant: Generated, seed: int) -> str:
    """Sorting by it makes an order at random, in which a change to the code moves nothing else."""
    return hashlib.sha256(f"{seed} {mutant.id}".encode()).hexdigest()


def stage_of(mutant: Generated) -> str:
    return mutant.file.split("/")[1]


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="harness.mutants.generate",
                                     description=__doc__.split("\n", 1)[0])
    parser.add_argument("--stage", action="append", default=[], metavar="NN",
                        help="may be repeated; default: all")
    parser.add_argument("--kind", action="append", choices=sorted(KINDS), help="may be repeated")
    parser.add_argument("--file", help="only this file, by its name")
    parser.add_argument("--count", type=int, default=0,
                        help="until so many were judged, in an order by --seed; 0: all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--list", action="store_true", help="build none of them")
    parser.add_argument("--results", default="", metavar="FILE",
                        help="where results are kept, and not found again")
    parser.add_argument("--quick", action="store_true",
                        help="ask only what is about the stage itself; then --again")
    parser.add_argument("--slow", action="store_true",
                        help="ask also the slow tests, and what comes of other failing calls")
    parser.add_argument("--again", action="store_true",
                        help="judge the survivors in --results once more")
    parser.add_argument("--ask", action="append", choices=ASKS, help="only these; may be repeated")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    arguments = parse(words)
    tools = matrix.tools()  # before the folder changes: Bazel names them from here
    results = Results(os.path.abspath(arguments.results) if arguments.results else "")
    os.chdir(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    stages = [path.parent.name for path in sorted(pathlib.Path("stages").glob("[0-9]*/main.cc"))
              if not arguments.stage or path.parent.name.partition("_")[0] in arguments.stage]
    if not stages:
        sys.exit(f"generate: there is no stage {' or '.join(arguments.stage)}")
    if os.geteuid() != 0 and not arguments.list:
        sys.exit("generate: needs root: bazel run --config=root …")
    remove_left_cgroups(HOST, CGROUP)
    # Not in /tmp, which each one has for itself.
    place = pathlib.Path(tempfile.mkdtemp(prefix="mutants-", dir="/var/tmp"))
    try:
        place.chmod(0o755)
        builder = Builder(stages, place)
        texts = {file: pathlib.Path(file).read_text(encoding="utf-8") for stage in stages
                 for file in builder.files(stage)
                 if not arguments.file or os.path.basename(file) == arguments.file}
        found = [mutant for file, text in texts.items()
                 for mutant in mutants_of(file, text, arguments.kind or tuple(KINDS))]
        if arguments.count:
            found.sort(key=lambda mutant: drawn(mutant, arguments.seed))
        return run(arguments, found, texts, builder, tools, place, results, stages)
    except NotBuilt as error:
        sys.exit(f"generate: {error}")
    finally:
        shutil.rmtree(place, ignore_errors=True)


def run(arguments: argparse.Namespace, found: List[Generated], texts: Dict[str, str],
        builder: Builder, tools, place: pathlib.Path, results: Results,
        stages: Sequence[str]) -> int:
    if arguments.list:
        listed = found[:arguments.count or None]
        print("\n".join(f"{mutant.id}  {mutant.tell()}" for mutant in listed))
        return 0
    known, mutants = explained(), {mutant.id: mutant for mutant in found}
    # Others are of other stages, or of lines that have changed.
    results.found = {name: one for name, one in results.found.items() if name in mutants}
    again = set(results.of("survived")) if arguments.again else set()
    for name in again:
        del results.found[name]
    todo = [mutant for mutant in found if mutant.id not in results.found
            and (not arguments.again or mutant.id in again)]
    wanted = (results.counted(mutants) + len(again) if arguments.again
              else arguments.count or len(found))
    needed = [stage for stage in stages if any(stage_of(one) == stage for one in todo)]
    look = (Look.QUICK if arguments.quick else Look.THOROUGH if arguments.slow else Look.USUAL)
    if todo and look >= Look.USUAL and COMPLETE in stages and COMPLETE not in needed:
        needed.append(COMPLETE)
    judges = {stage: Judge(builder, tools, stage, place, look, arguments.ask or ASKS)
              for stage in needed}
    for judge in judges.values():
        judge.complete = judges.get(COMPLETE)
        if results.path:
            judge.remember(results.path)
    judge_all(iter(todo), wanted, mutants, known, texts, judges, results, arguments.jobs,
              sys.stderr)

    print(table(results, known, mutants))
    anyway = sorted(name for judge in judges.values() for name, sound in judge.sound.items()
                    if not sound)
    if anyway:
        print("not counted, as they fail without a change, too:", *anyway, sep="\n  ")
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"{sum(one.ru_utime + one.ru_stime for one in used):.0f} s of CPU time")
    print(f"again: generate {shlex.join(sys.argv[1:])}")
    return 1 if any(one["became"] == "survived" and not is_explained(one, known, mutants)
                    for one in results.found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
