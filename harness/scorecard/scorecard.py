"""Which isolation do the tools that people use give, beside our stages? One table of properties.

  bazel run //harness:scorecard -- --html scorecard.html
  python3 -m harness.scorecard.scorecard --in vm --json FILE --svg FILE

A small script in adapters/ translates our command line for each tool, and lists the options that it
uses. All are tested for everything that the last stage promises, as an ordinary user where that is
possible. A property that needs an option that the program does not have is distinguished from one
that it violates.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pathlib
import subprocess
import sys
from typing import AbstractSet, Any, Dict, List, Optional, Sequence, Set, Tuple

from harness import matrix, places
from harness.scorecard import pages
from harness.agent_client import Place, PlaceError
from harness.grading.grader import NOTHING, Grader, Program, keys_of
from harness.properties.model import PROMISE, Case, Outcome, Property, Result
from harness.properties.scene import Tools
from harness.properties.table import PROPERTIES
from harness.properties.verdict import ROOT, STAGES, USER

ADAPTERS = pathlib.Path(__file__).resolve().parent / "adapters"
TOOLS = ("unshare", "bwrap", "crun", "podman")
RUNTIME = "11_oci"  # has an adapter, because its command line is that of an OCI runtime
OURS = STAGES[STAGES.index("05"):]
COLUMNS = (*TOOLS, *OURS, RUNTIME)
ASKED_AS = STAGES[-1]  # the stage whose command line and promises all are tested for

Json = Dict[str, Any]

# Explanations of verdicts that are not the tool's fault.
NO_TIOCSTI = ("The row asks whether a filter refuses the call. This kernel itself has refused it"
              " since Linux 6.2 with dev.tty.legacy_tiocsti=0")
LAYERS = "Layers are the engine's: podman mounts an overlay, and gives that to its runtime"
TWO_LINES = "One line more than our stages print: it says where to find help"
REMARKS: Dict[Tuple[str, str], str] = {
    ("*", "x32_calls_are_killed"): "Debian's kernel has no x32 unless booted with syscall.x32=y: it"
                                   " is the kernel that says ENOSYS",
    ("*", "terminal_cannot_be_typed_into"): f"{NO_TIOCSTI}.",
    ("*", "terminal_input_has_no_disguise"): f"{NO_TIOCSTI}.",
    ("bwrap", "terminal_cannot_be_typed_into"): f"{NO_TIOCSTI}; and --new-session, which is given"
                                                " here, leaves no terminal to type into.",
    ("bwrap", "terminal_input_has_no_disguise"): f"{NO_TIOCSTI}; and --new-session, which is given"
                                                 " here, leaves no terminal to type into.",
    ("bwrap", "ctrl_c_arrives_once"): "--new-session takes the command out of the terminal's reach"
                                      " on purpose; bwrap dies of Ctrl-C, and the command with it.",
    ("bwrap", "host_variable_is_hidden"): "--clearenv would hide them; it is rarely given.",
    ("bwrap", "path_is_the_containers"): "--clearenv and --setenv PATH would; rarely given.",
    ("bwrap", "hostname_is_never_the_hosts"): "It is the container's own, and begins as a copy.",
    ("bwrap", "no_namespaces_inside"): "--disable-userns would deny them; it is rarely given.",
    ("bwrap", "sysctls_cannot_be_opened"): "Where root calls it: an ordinary user may write none.",
    ("unshare", "own_ipc_namespace"): "--ipc would make one; recipes leave it out.",
    ("unshare", "own_network_namespace"): "--net would make one; recipes leave it out.",
    ("unshare", "own_cgroup_namespace"): "--cgroup would make one; recipes leave it out.",
    ("unshare", "own_time_namespace"): "--time would make one; recipes leave it out.",
    ("unshare", "uptime_starts_at_zero"): "--time and --boottime would; recipes leave them out.",
    ("unshare", "container_dies_with_its_parent"): "--kill-child would; recipes leave it out.",
    ("unshare", "hostname_is_never_the_hosts"): "It is the container's own, and begins as a copy.",
    ("unshare", "errors_are_told"): f"{TWO_LINES}.",
    ("crun", "errors_are_told"): f"{TWO_LINES}.",
    ("crun", "container_dies_with_its_parent"): "Intended: for podman, conmon does that.",
    ("crun", "kernel_files_are_masked"): ("Only /proc/interrupts is not masked; newer"
                                       " versions of Docker mask it."),
    ("crun", "planted_device_is_dead"): "The row's device is /dev/zero, which crun's device filter"
                                        " lets through. The host's disk it refuses.",
    ("crun", "volume_brings_no_device"): "The row's device is /dev/zero, which crun's device filter"
                                         " lets through. The host's disk it refuses.",
    ("crun", "memory_limit_kills_all"): "memory.oom.group is set only on request.",
    ("crun", "nothing_is_left"): "An empty cgroup, after SIGKILL and failed starts: `crun delete`,"
                                 " which an engine calls, removes it.",
    ("crun", "killed_parents_cgroup_is_removed"): "`crun delete`, which an engine calls, does it.",
    ("crun", "filter_is_installed"): "`crun spec` writes none: the filter is the engine's, too.",
    ("crun", "rootfs_is_not_changed"): f"{LAYERS}.",
    ("crun", "next_container_starts_afresh"): f"{LAYERS}.",
    ("crun", "writes_are_not_shared"): f"{LAYERS}.",
}

# A row that means something only for a program that has what another row is about.
FOLLOWS = {"no_filter_no_start": ("filter_is_installed", "it installs no filter"),
           "parent_has_no_filter": ("filter_is_installed", "it installs no filter"),
           "masks_cannot_be_lifted": ("proc_paths_are_read_only", "it has none"),
           "links_are_own": ("sys_is_read_only", "it mounts no /sys")}


@dataclasses.dataclass(frozen=True)
class Column:
    """A program on the scorecard, and the options that it does not have."""

    name: str
    path: str
    version: str
    lacks: Sequence[str]
    adapter: str = ""  # the text of its script

    def case(self, row: Property) -> Case:
        identity = USER if USER in row.identities else ROOT
        return Case(row, ASKED_AS, self.path, self.name, identity, PROMISE)


# --- What is there --------------------------------------------------------------------------------


def output(place: Place, *words: str) -> Optional[str]:
    """A program's output in that place; None if it is not installed there."""
    done = subprocess.run(place.command([place.path(words[0]), *words[1:]]), text=True, check=False,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return done.stdout if done.returncode == 0 else None


def columns_in(place: Place, names: Sequence[str]) -> List[Column]:
    """The programs that are installed; missing ones are reported on stderr."""
    stages = matrix.stages_of_this_toolkit()
    found = []
    for name in names:
        if name in stages:
            program = stages[name]
            found.append(Column(program.label, program.path, "", without_help(place, program)))
            continue
        path = ADAPTERS / f"{name}.sh"
        version = output(place, str(path), "--version")
        if version is None:
            print(f"harness.scorecard: there is no {name} in {place.name}", file=sys.stderr)
            continue
        lacks = (output(place, str(path), "--lacks") or "").splitlines()
        found.append(Column(name, str(path), version.splitlines()[0], lacks,
                            path.read_text(encoding="utf-8")))
    return found


def without_help(place: Place, program: Program) -> List[str]:
    """The options that the last stage has and this one does not."""
    def options(path: str) -> List[str]:
        words = (output(place, path, "--help") or "").replace(",", " ").split()
        return [word for word in words if word.startswith("--") and word != "--"]
    last = matrix.stages_of_this_toolkit()[ASKED_AS]
    return sorted(set(options(last.path)) - set(options(program.path)))


def programs_for(names: Sequence[str], own: Tools) -> List[str]:
    """Everything that a place has to contain."""
    stages = matrix.stages_of_this_toolkit()
    adapters = [str(path) for path in sorted(ADAPTERS.glob("*.sh"))]
    return [own.agent, own.probe, own.busybox, *adapters,
            *(stages[name].path for name in (*names, ASKED_AS) if name in stages),
            *os.environ.get("HARNESS_RUNTIME", "").split()]


# --- The table ------------------------------------------------------------------------------------


def measure(where: Sequence[Place], names: Sequence[str], rows: Sequence[Property], own: Tools,
            time_limit: float, known: AbstractSet[Tuple[str, str]] = frozenset()) -> Json:
    """Tests all programs, and returns the data for the pages and the picture, without the cells
    that are `known` by row and column. Rows about SELinux are looked at in the last place."""
    place = where[0]
    place.boot()
    columns = columns_in(place, names)
    graders = [Grader(own, time_limit, place), Grader(own, time_limit, where[-1])]
    table: List[Json] = [{**texts_of(row), "cells": {}} for row in rows]
    for column in columns:
        print(f"harness.scorecard: {column.name}", file=sys.stderr, flush=True)
        for grader, selinux in zip(graders, (False, True)):
            lines = {row.name: line for row, line in zip(rows, table)
                     if row.selinux is selinux and (row.name, column.name) not in known}
            cases = [column.case(row) for row in rows if row.name in lines]
            for result in grader.grade(cases) if cases else ():
                cells = lines[result.case.property.name]["cells"]
                cells[column.name] = cell(column, result, grader)
    return {"place": place.name,
            "columns": [{"name": column.name, "version": column.version,
                         "adapter": column.adapter} for column in columns],
            "rows": table}


def cell(column: Column, result: Result, grader: Grader) -> Json:
    """A verdict: holds, violated, not applicable, or undecided; and what was seen."""
    used = grader.seen[keys_of(result.case)[0]].used
    missing = [option for option in column.lacks if option in used]
    if missing and result.case.property.scene != "*":
        return {"verdict": "n/a", "got": f"it has no {missing[0]}"}
    if result.outcome is Outcome.LACKING:
        return {"verdict": "n/a", "got": result.why}
    verdict = {Outcome.PASSED: "holds", Outcome.FAILED: "violated"}.get(result.outcome, "undecided")
    if result.got == NOTHING:  # a program that does not start has not been seen to violate anything
        verdict = "undecided"
    told = {"verdict": verdict, "as": result.case.identity,
            "got": result.got if verdict == "holds" else f"{result.got}; {result.why}"}
    remarks = [REMARKS.get((name, result.case.property.name)) for name in (column.name, "*")]
    remark = next(filter(None, remarks), None)
    return {**told, "remark": remark} if remark and verdict == "violated" else told


def leave_out(table: Sequence[Json], name: str) -> None:
    """Removes the rows that mean nothing for this program: see FOLLOWS; and /sys, if it mounts
    none."""
    cells = {line["name"]: line["cells"][name] for line in table if name in line["cells"]}
    for row, cell_of_row in cells.items():
        if row == "sys_is_read_only" and "nothing is mounted at /sys" in cell_of_row["got"]:
            cell_of_row.update(verdict="n/a", got="it mounts no /sys")
    for row, (other, why) in FOLLOWS.items():
        if row in cells and cells.get(other, {}).get("verdict") in ("violated", "n/a"):
            cells[row] = {"verdict": "n/a", "got": why}
    for line in table:
        if line["name"] in cells:
            line["cells"][name] = cells[line["name"]]


def texts_of(row: Property) -> Json:
    return {"name": row.name, "since": row.since, "holds": row.holds, "violated": row.violated,
            "lesson": row.lesson}


def renewed(before: Json, measured: Json) -> Json:
    """What was measured before, with the columns and rows that were measured now, in the order of
    the table and with its texts."""
    columns = {column["name"]: column for column in [*before["columns"], *measured["columns"]]}
    rows: Dict[str, Json] = {}
    for row in [*before["rows"], *measured["rows"]]:
        cells = rows.get(row["name"], {}).get("cells", {})
        rows[row["name"]] = {**row, "cells": {**cells, **row["cells"]}}
    order = {row.name: number for number, row in enumerate(PROPERTIES)}
    for name in rows.keys() & order.keys():
        rows[name].update(texts_of(PROPERTIES[order[name]]))
    return {**before, "columns": list(columns.values()),
            "rows": sorted(rows.values(), key=lambda row: order.get(row["name"], len(order)))}


def cells_of(scorecard: Json) -> Set[Tuple[str, str]]:
    """Which there are, by row and column."""
    return {(row["name"], column) for row in scorecard["rows"] for column in row["cells"]}


def check_that_it_is_complete(scorecard: Json) -> None:
    cells = cells_of(scorecard)
    for row in scorecard["rows"]:
        for column in scorecard["columns"]:
            if (row["name"], column["name"]) not in cells:
                raise ValueError(f"{row['name']} has not been measured for {column['name']}\nhint:"
                                 " --new measures all that --from does not have")


def tell(scorecard: Json) -> str:
    """The table for a terminal."""
    marks = {"holds": "+", "violated": "-", "n/a": "n/a", "undecided": "?"}
    names = [column["name"] for column in scorecard["columns"]]
    width = max(len(row["name"]) for row in scorecard["rows"])
    lines = [" " * width + "".join(f"  {name:>8.8}" for name in names)]
    for row in scorecard["rows"]:
        cells = "".join(f"  {marks[row['cells'][name]['verdict']]:>8}" for name in names)
        lines.append(f"{row['name']:<{width}}{cells}")
    return "\n".join(lines + ["", "+ holds   - was seen violated   n/a it has no such option"
                              "   ? neither was seen"])


# --- The command line -----------------------------------------------------------------------------


def parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="harness.scorecard",
                                     description=__doc__.split("\n", 1)[0])
    parser.add_argument("--in", dest="place", choices=places.CHOICES, default="vm:6.12",
                        metavar="PLACE", help="host, vm, or vm:KERNEL; default: vm:6.12")
    parser.add_argument("--column", action="append", choices=COLUMNS, metavar="NAME",
                        help=f"only this one, of {', '.join(COLUMNS)}; may be repeated")
    parser.add_argument("--property", action="append", help="only this one; may be repeated")
    parser.add_argument("--time-limit", type=float, default=5.0, help="seconds for each start")
    parser.add_argument("--from", dest="measured", type=pathlib.Path, metavar="JSON",
                        help="draw what --json has written; with --column, --property or --new,"
                             " measure only that again")
    parser.add_argument("--new", action="store_true", help="only the rows and columns that --from"
                        " does not have")
    for kind in ("html", "svg", "json"):
        parser.add_argument(f"--{kind}", type=pathlib.Path, metavar="FILE", help="write it there")
    arguments = parser.parse_args(words)
    unknown = set(arguments.property or []) - {row.name for row in PROPERTIES}
    if unknown:
        parser.error(f"there is no property called {', '.join(sorted(unknown))}")
    return arguments


def main(words: Sequence[str]) -> int:
    arguments = parse(words)
    try:
        before: Json = {"columns": [], "rows": []}
        if arguments.measured is not None:
            path = pathlib.Path(os.environ.get("BUILD_WORKING_DIRECTORY", "."), arguments.measured)
            before = json.loads(path.read_text(encoding="utf-8"))
        known = cells_of(before) if arguments.new else set()
        measures = (arguments.measured is None or arguments.column or arguments.property
                    or arguments.new)
        if measures:
            own = matrix.tools()
            names = arguments.column or COLUMNS
            rows = [row for row in PROPERTIES if row.is_promised_at(ASKED_AS)
                    and (not arguments.property or row.name in arguments.property)]
            with places.places(arguments.place, programs_for(names, own)) as where:
                scorecard = measure(where, names, rows, own, arguments.time_limit, known)
        os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
        if arguments.measured is not None:
            scorecard = renewed(before, scorecard) if measures else before
        for column in scorecard["columns"]:
            leave_out(scorecard["rows"], column["name"])
        check_that_it_is_complete(scorecard)
        for path, text in (
                (arguments.html, pages.page), (arguments.svg, pages.picture),
                (arguments.json, lambda told: json.dumps(told, indent=1) + "\n")):
            if path:
                path.write_text(text(scorecard), encoding="utf-8")
    except (PlaceError, OSError, ValueError) as error:
        print(f"harness.scorecard: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(tell(scorecard))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
