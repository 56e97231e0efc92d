"""Runs the cases of a sweep with several workers, each with a world of its own."""

from __future__ import annotations

import collections
import dataclasses
import queue
import sys
import threading
import time
from typing import Callable, Counter, Dict, Iterator, List, Optional, Sequence, TextIO, Tuple

from harness.agent_client import AgentError, AgentLost, Place
from harness.faults import faults, surroundings
from harness.faults.case import Bench, Record
from harness.faults.classify import GOOD, MISSED, verdicts
from harness.faults.configurations import CONFIGURATIONS, Configuration
from harness.faults.results import Results
from harness.faults.world import Tools, World

Try = Callable[[Bench], Record]


@dataclasses.dataclass(frozen=True)
class Part:
    """All cases of a kind, of one configuration: what a worker takes at a time."""

    configuration: Configuration
    kind: str
    cases: Tuple[Tuple[str, Try], ...]


def cases_of(bench: Bench, kind: str, quick: bool) -> Iterator[Tuple[str, Try]]:
    """Their names, and how each is tried."""
    configuration = bench.configuration
    if kind in surroundings.GROUPS:
        for odd in surroundings.GROUPS[kind](bench.world, configuration):
            yield odd.name, lambda bench, name=odd.name: surroundings.try_case(bench, kind, name)
        return
    if kind == faults.RESTART and not configuration.shares:
        return
    # What a runtime that was killed leaves is for the engine's `delete --force`: test_oci_strength.
    if kind in (faults.KILL, faults.RESTART) and configuration.is_runtime:
        return
    calls = faults.without_loops(bench.calls, bool(configuration.cold))
    for fault in faults.faults_for(calls, kind, quick):
        yield fault.name, lambda bench, fault=fault: bench.try_fault(fault)


class Progress:
    """One line that is rewritten on a terminal; otherwise a line now and then."""

    def __init__(self, total: int, stream: TextIO) -> None:
        self.total = total
        self.done = 0
        self.tried = 0
        self.bad: Counter[str] = collections.Counter()
        self.stream = stream
        self.started = time.monotonic()
        self.last = 0.0
        self.lock = threading.Lock()

    def add(self, record: Record, is_new: bool) -> None:
        with self.lock:
            self.done += 1
            self.tried += is_new
            self.bad.update(one for one in verdicts(record) if one not in (*GOOD, MISSED))
            every = 0.2 if self.stream.isatty() else 60.0
            if is_new and time.monotonic() - self.last > every:
                self.last = time.monotonic()
                self.tell(record)

    def tell(self, record: Record) -> None:
        share = self.done / max(1, self.total)
        bar = ("#" * round(20 * share)).ljust(20, ".")
        seconds = (time.monotonic() - self.started) / max(1, self.tried)
        left = seconds * (self.total - self.done)
        bad = ", ".join(f"{count} {name}" for name, count in self.bad.most_common(4))
        line = (f"[{bar}] {self.done}/{self.total}  {record.configuration} {record.kind}"
                f"  {left / 60:.0f} min left  {bad or 'nothing bad'}")
        start, end = ("\r\x1b[K", "") if self.stream.isatty() else ("", "\n")
        self.stream.write(f"{start}{line[:118]}{end}")
        self.stream.flush()

    def close(self) -> None:
        if self.stream.isatty():
            self.stream.write("\r\x1b[K")


class Sweep:
    """A choice of configurations and kinds, in a place."""

    def __init__(self, place: Place, tools: Tools, results: Optional[Results], workers: int = 2,
                 every: int = 1, quick: bool = False) -> None:
        self.place = place
        self.tools = tools
        self.results = results
        self.workers = workers
        self.every = every  # a sample: only every n-th case
        self.quick = quick  # a sample, see faults_for()
        self.parts: queue.Queue[Part] = queue.Queue()
        self.benches: Dict[Tuple[int, str], Bench] = {}
        self.records: List[Record] = []
        self.not_here: List[str] = []  # what the place cannot start
        self.problems: List[str] = []  # what was to be tried, and was not
        self.stopped = threading.Event()

    def run(self, names: Sequence[str], kinds: Sequence[str]) -> List[Record]:
        """All results, with those of earlier sweeps."""
        with World(self.place, self.tools, "0") as first:
            total = self._plan(first, names, kinds)
            progress = Progress(total, sys.stderr)
            threads = [threading.Thread(target=self._work_in_own_world, args=(number, progress))
                       for number in range(1, self.workers)]
            for thread in threads:
                thread.start()
            try:
                self._work(0, first, progress)
            except KeyboardInterrupt:
                self.stopped.set()
                raise
            finally:
                for thread in threads:
                    thread.join()
                progress.close()
        return self.records

    def _plan(self, world: World, names: Sequence[str], kinds: Sequence[str]) -> int:
        """Observes each configuration once; returns the number of cases."""
        total = 0
        for name in names:
            configuration = CONFIGURATIONS[name]
            if not world.can_start(configuration):
                self.not_here.append(f"{name}: not in {self.place.name}: there is no "
                                     f"{configuration.needs or configuration.program}")
                continue
            try:
                bench = Bench(world, configuration)
            except RuntimeError as error:
                self.problems.append(str(error))
                continue
            self.benches[0, name] = bench
            for kind in kinds:
                cases = tuple(cases_of(bench, kind, self.quick))[::self.every]
                total += len(cases)
                self.parts.put(Part(configuration, kind, cases))
        return total

    def _work_in_own_world(self, number: int, progress: Progress) -> None:
        while not self.parts.empty() and not self.stopped.is_set():
            try:
                with World(self.place, self.tools, str(number)) as world:
                    self._work(number, world, progress)
            except (AgentError, AgentLost) as error:  # the part's other cases are left out
                self.problems.append(f"worker {number}: {error}")

    def _work(self, number: int, world: World, progress: Progress) -> None:
        while not self.stopped.is_set():
            try:
                part = self.parts.get_nowait()
            except queue.Empty:
                return
            name = part.configuration.name
            if (number, name) not in self.benches or self.benches[number, name].world is not world:
                self.benches[number, name] = Bench(world, part.configuration)
            self._work_off(self.benches[number, name], part, progress)

    def _work_off(self, bench: Bench, part: Part, progress: Progress) -> None:
        name, kind = part.configuration.name, part.kind
        program = self.tools.programs[part.configuration.program]
        done = self.results.done(name, kind, program) if self.results else {}
        for case, attempt in part.cases:
            if self.stopped.is_set():
                return
            record = done.get(case) or attempt(bench)
            if self.results and case not in done:
                self.results.add(record)
            self.records.append(record)
            progress.add(record, case not in done)
