"""Makes each system call of each process of a container's start fail, kills each process at each of
them, makes resources scarce and surroundings odd, and judges the outcome.

Without options, all of it, for some hours; after Ctrl-C, the same command goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import sys
from typing import List

from harness.faults.case import Bench
from harness.faults.classify import GOOD, verdicts
from harness.faults.configurations import CONFIGURATIONS
from harness.faults.endurance import ENDURANCE
from harness.faults.faults import KINDS, fault_called
from harness.faults.results import Results, count
from harness.faults.surroundings import GROUPS, try_case
from harness.faults.sweep import Sweep
from harness.faults.table import bad_cases, doubtful_lines, tables, what_happened, write_into
from harness.faults.tools import find_tools
from harness.faults.world import World, WorldError
from harness.places import places
from harness.vm.image import VmError, cache_directory


def parse() -> argparse.Namespace:
    kinds = [*KINDS, *GROUPS, *ENDURANCE]
    parser = argparse.ArgumentParser(prog="bazel run //harness/faults --", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configuration", action="append", choices=list(CONFIGURATIONS),
                        metavar="NAME", help="may be repeated; default: all: "
                        + ", ".join(CONFIGURATIONS))
    parser.add_argument("--kind", action="append", choices=kinds, metavar="KIND",
                        help="may be repeated; default: all: " + ", ".join(kinds))
    parser.add_argument("--case", metavar="CASE", help="one case only, as the list at the end names"
                        " it: what came of it, in detail")
    parser.add_argument("--every", type=int, default=1, metavar="N",
                        help="a sample: each N-th case")
    parser.add_argument("--quick", action="store_true",
                        help="a sample: of each process the first and the last call of each name,"
                        " each with one of its errors, in turn")
    parser.add_argument("--size", type=int, metavar="N",
                        help="how many starts, or seconds, an endurance run lasts")
    parser.add_argument("--in", dest="place", default="host",
                        help="host, vm, vm:6.1 or vm:6.12; default: %(default)s")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, metavar="N",
                        help="how many worlds at once; default: %(default)s")
    parser.add_argument("--results", type=pathlib.Path, metavar="DIR",
                        help="default: below the cache directory")
    parser.add_argument("--table", action="store_true",
                        help="write what the results hold into harness/faults/README.md; tries"
                        " nothing")
    return parser.parse_args()


def try_one(world: World, name: str, kind: str, case: str) -> int:
    """One case, in detail."""
    bench = Bench(world, CONFIGURATIONS[name])
    if kind in GROUPS:
        record = try_case(bench, kind, case)
    else:
        record = bench.try_fault(fault_called(kind, case))
    found = verdicts(record)
    print(f"{name}, {case}: {', '.join(found)}\n  {what_happened(record)}")
    for key, (before, after) in record.changes.items():
        print(f"  {key}\n    usual: {before!r}\n    now:   {after!r}")
    return int(any(verdict not in GOOD for verdict in found))


def write_table(results: pathlib.Path) -> None:
    table, _ = count(Results(results).records())
    root = pathlib.Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))
    write_into(root / "harness/faults/README.md", tables(table))


def main() -> int:
    arguments = parse()
    results = (arguments.results or cache_directory() / "faults") / arguments.place
    if arguments.table:
        write_table(results)
        return 0
    names = arguments.configuration or list(CONFIGURATIONS)
    kinds: List[str] = arguments.kind or [*KINDS, *GROUPS]
    given = find_tools()
    with places(arguments.place, [*given.programs.values(), given.agent, given.probe,
                                  given.busybox, given.inject], selinux=False) as (place,):
        place.boot()
        if arguments.case:
            with World(place, given, "case") as world:
                return try_one(world, names[0], kinds[0], arguments.case)
        for kind in [kind for kind in kinds if kind in ENDURANCE]:
            with World(place, given, "endurance") as world:
                print(ENDURANCE[kind](world, arguments.size), flush=True)
        kinds = [kind for kind in kinds if kind not in ENDURANCE]
        sweep = Sweep(place, given, Results(results), arguments.workers, arguments.every,
                      arguments.quick)
        records = sweep.run(names, kinds) if kinds else []
    table, found = count(iter(records))
    bad = bad_cases(found)
    print(tables(table), *doubtful_lines(bad), *sweep.not_here, *sweep.problems, sep="\n")
    return int(bool(bad or sweep.problems))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (VmError, WorldError) as problem:
        sys.exit(f"harness/faults: {problem}")
    except KeyboardInterrupt:
        sys.exit(130)
