"""Runs the fuzz targets, each for some time, and reports what they did.

    bazel run --config=fuzz //harness/fuzz -- --seconds 3600 --at-once 2 --keep ~/corpus [TARGET...]

The figures are sums over all runs that kept their inputs in the same folder, so that a long run can
be done in parts. Ends with 1 if an input has broken a target; such inputs are kept, and how to run
one is printed.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

CORPUS = pathlib.Path("harness/fuzz/corpus").resolve()

# An input may be so long, and take so long, and need so much memory: more is a finding, too.
LARGEST = 8192
LIMITS = ["-timeout=300", "-rss_limit_mb=1024", "-malloc_limit_mb=512",
          "-report_slow_units=300"]  # by default 10 s, which inputs may take on a busy machine
INTERRUPTED = 72  # libFuzzer's exit status after SIGINT and SIGTERM


@dataclasses.dataclass
class Result:
    target: str
    executions: int
    features: int
    inputs: int
    cpu_seconds: float
    broken: list[pathlib.Path]
    output: str
    broken_before: int = 0

    def row(self) -> str:
        return (f"| `{self.target}` | {self.executions:,} | {self.features:,} | {self.inputs:,} "
                f"| {self.cpu_seconds:,.0f} | {self.broken_before + len(self.broken)} |")

    def add_earlier_runs(self, sums: pathlib.Path) -> None:
        """Adds what earlier runs have written into the file of sums, and writes it again."""
        earlier = json.loads(sums.read_text(encoding="utf-8")) if sums.exists() else {}
        self.executions += earlier.get("executions", 0)
        self.cpu_seconds += earlier.get("cpu_seconds", 0)
        self.broken_before = earlier.get("broken", 0)
        sums.write_text(json.dumps({"executions": self.executions, "cpu_seconds": self.cpu_seconds,
                                    "broken": self.broken_before + len(self.broken)}),
                        encoding="utf-8")


def fuzz(program: pathlib.Path, seconds: int, keep: pathlib.Path) -> Result:
    found = keep / program.name
    found.mkdir(parents=True, exist_ok=True)
    broken = keep / "broken" / program.name
    broken.mkdir(parents=True, exist_ok=True)
    before = {path.name for path in broken.iterdir()}
    log = keep / f"{program.name}.log"
    with open(log, "w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [program, found, CORPUS / program.name, f"-max_total_time={seconds}",
             f"-max_len={LARGEST}", *LIMITS, "-print_final_stats=1",
             f"-artifact_prefix={broken}/"],
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    text = log.read_text(encoding="utf-8", errors="replace")
    found_inputs = [path for path in sorted(broken.iterdir()) if path.name not in before]
    if process.returncode not in (0, INTERRUPTED) and not found_inputs:  # it did not even start
        found_inputs = [log]

    def last(pattern: str) -> int:
        numbers = re.findall(pattern, text)
        return int(numbers[-1]) if numbers else 0

    result = Result(program.name, last(r"stat::number_of_executed_units: (\d+)"),
                    last(r" ft: (\d+)"), last(r" corp: (\d+)"),
                    usage.ru_utime + usage.ru_stime, found_inputs, text)
    result.add_earlier_runs(keep / f"{program.name}.sums.json")
    return result


def main() -> int:
    programs = {pathlib.Path(path).name: pathlib.Path(path)
                for path in os.environ["FUZZ_TARGETS"].split()}
    parser = argparse.ArgumentParser(prog="bazel run --config=fuzz //harness/fuzz --")
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    parser.add_argument("--at-once", type=int, default=os.cpu_count(), help="how many of them")
    parser.add_argument("--keep", type=pathlib.Path, metavar="DIR",
                        help="where new inputs are kept, for the next time")
    parser.add_argument("target", nargs="*", help=f"all, or some of: {' '.join(sorted(programs))}")
    arguments = parser.parse_args()
    for name in arguments.target:
        if name not in programs:
            parser.error(f"there is no target {name}")
    here = pathlib.Path(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    keep = here / (arguments.keep or tempfile.mkdtemp(prefix="fuzz-"))

    results = []
    with concurrent.futures.ThreadPoolExecutor(arguments.at_once) as pool:
        runs = [pool.submit(fuzz, programs[name], arguments.seconds, keep)
                for name in sorted(arguments.target or programs)]
        print("| target | executions | features | inputs | CPU s | broken by |\n"
              "|---|---|---|---|---|---|")
        for run in runs:
            results.append(run.result())
            print(results[-1].row(), flush=True)
    for result in results:
        for path in result.broken:
            print(f"\n{result.target} is broken by {path}:")
            print("\n".join(result.output.splitlines()[-40:]))
            print(f"To run it again:  {programs[result.target].resolve()} {path}")
    return 1 if any(result.broken for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
