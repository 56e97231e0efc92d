"""The validation programs of the OCI's runtime-tools, with stage 11, crun and runc.

    ./setup.sh --validation
    sudo bazel run //harness/conformance:validation -- [--vm] [PROGRAM...]

Each of them starts containers and writes what it has found as TAP. The source is that of Debian's
package; it is built by Debian's Go, with Debian's libraries. The table has one line for each
program: "ok", or the first thing that it complained about.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
from typing import List, Sequence

from harness.conformance import places

TOOLS = "github.com/opencontainers/runtime-tools"
TIME_LIMIT = 120
# What one of them ended with, if it wrote nothing that a reader of TAP would call a failure.
NO_PLAN = re.compile(r"^1\.\.0$", re.MULTILINE)
NOT_OK = re.compile(r"^not ok(?: \d+)? ?-? ?(?!.*# TODO)(.*)$", re.MULTILINE)
SAYS_NOTHING = re.compile(r"exit status|failed to|hint:|time=.* level=warning|$")
ERROR = re.compile(r'^  (\{.*"error":.*\})$', re.MULTILINE)


def build(foreign: pathlib.Path) -> pathlib.Path:
    """Returns the folder of the programs, which is made once."""
    source = foreign / "runtime-tools/src/golang-github-opencontainers-runtime-tools"
    if not source.is_dir():
        raise SystemExit("runtime-tools are not here: ./setup.sh --validation")
    programs = foreign / "runtime-tools/programs"
    if programs.is_dir():
        return programs
    partial = foreign / "runtime-tools/partial"
    shutil.rmtree(partial, ignore_errors=True)
    ours = partial / "go/src"
    shutil.copytree(source, ours / TOOLS)
    tap = ours / "github.com/mndrix/tap-go"
    tap.mkdir(parents=True)
    shutil.copy("harness/conformance/tap.go", tap)
    subprocess.run(
        ["go", "build", "-trimpath", "-tags", "urfave_cli_no_docs", "-ldflags", "-s -w", "-o",
         str(partial) + "/", "./validation/...", "./cmd/runtimetest"], check=True,
        cwd=ours / TOOLS, env={
            **os.environ, "CGO_ENABLED": "0", "GO111MODULE": "off", "GOFLAGS": "",
            "GOCACHE": str(partial / "cache"),
            "GOPATH": f"{partial / 'go'}:{foreign / 'gocode/usr/share/gocode'}"})
    for name in ("go", "cache"):
        subprocess.run(["chmod", "-R", "u+w", str(partial / name)], check=True)
        shutil.rmtree(partial / name)
    for root in source.glob("rootfs-*.tar.gz"):
        shutil.copy(root, partial)
    partial.rename(programs)
    return programs


def verdict(status: int, out: str, err: str) -> str:
    """"ok", or the first complaint. Some programs only write an error, and the plan 1..0."""
    complaints = NOT_OK.findall(out)
    if NO_PLAN.search(out):
        complaints += [str(json.loads(found)["error"]).split("\n", maxsplit=1)[0]
                       for found in ERROR.findall(out)]
    if not complaints and status == 0:
        return "ok"
    if not complaints or "exit status" in complaints[0]:  # the runtime itself says why
        complaints = [line for line in err.splitlines()
                      if not SAYS_NOTHING.match(line)] or complaints
    return shortened((complaints or [f"ended with status {status}"])[0])


def shortened(text: str) -> str:
    """Without what changes: times, and the path of a bundle."""
    text = re.sub(r'^time=.* msg="|"$|/\S*/ocitest\d+/|[\w-]{36}', "", text)
    return re.sub(r"[|\t]", " ", text)[:100]


def run(folder: pathlib.Path, wanted: Sequence[str]) -> None:
    names = sorted(path.name for path in folder.iterdir()
                   if os.access(path, os.X_OK) and path.name != "runtimetest")
    rows: List[List[str]] = []
    with places.world() as world:
        tested = {}
        for name, words in places.runtimes().items():
            tested[name] = world.folder / name  # they take one word
            tested[name].write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            tested[name].chmod(0o755)
        for name in [name for name in names if not wanted or name in wanted]:
            row = [f"`{name}`"]
            for program in tested.values():
                try:
                    done = world.run(
                        "sh", "-c", 'cd "$0" && umask 022 && TMPDIR=/run RUNTIME="$1" exec ./"$2"',
                        folder, program, name, timeout=TIME_LIMIT)
                    row.append(verdict(done.returncode, done.stdout, done.stderr))
                except subprocess.TimeoutExpired:
                    row.append(f"has not ended within {TIME_LIMIT} s")
            print(*row, sep="\t", file=sys.stderr, flush=True)
            rows.append(row)
    clean = [str(sum(row[i] == "ok" for row in rows)) for i in range(1, len(tested) + 1)]
    print(places.table(["program", *tested], [*rows, [f"ok, of {len(rows)}", *clean]]))


def main() -> int:
    parser = places.parser_of("validation", __doc__)
    parser.add_argument("--programs", type=pathlib.Path, help="where they are built already")
    parser.add_argument("names", nargs="*", metavar="PROGRAM")
    arguments = parser.parse_args()
    programs = arguments.programs or build(places.workspace() / "foreign")
    if arguments.vm:
        return places.run_in_vm(arguments.kernel, "validation",
                                ["--programs", "FOLDER", *arguments.names], str(programs))
    run(programs, arguments.names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
