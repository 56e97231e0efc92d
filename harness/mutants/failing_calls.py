"""Whether a mutant takes it otherwise than the program as it is if a system call fails."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import threading
from typing import Dict, List, Optional, Set, Tuple

from harness.agent_client import HOST
from harness.faults.case import STATUS, Bench
from harness.faults.classify import GOOD, MISSED, verdicts
from harness.faults.configurations import CONFIGURATIONS, Configuration
from harness.faults.faults import ERRNOS, FAIL, OF_ANY, Fault, faults_for, without_loops
from harness.faults.world import Tools, World
from harness.mutants.kinds import Generated
from harness.properties import scene

# What a mutant of these kinds does shows only when something fails.
OF_ERRORS = ("check", "guard", "delete")
MOST = 25  # of those that one line names: there are hundreds of open(2)
# Whether these fail makes no difference to anybody.
TOLERATED = ("close", "mmap", "munmap", "mprotect", "brk", "rt_sigaction")
# The C library's names of calls, where the kernel's differ by more than "rt_", "at", or a number.
KERNELS = {"fork": "clone", "waitpid": "wait", "stat": "newfst", "lstat": "newfst",
           "fstat": "newfst", "isatty": "ioctl", "tcsetattr": "ioctl", "tcgetattr": "ioctl",
           "recv": "recvfrom", "receive": "recvmsg", "send": "sendto", "setpgid": "setpgid",
           "execvp": "execve", "closedir": "getdents"}


def plain(name: str) -> str:
    """The same for open(2) and openat2(2), sigprocmask(2) and rt_sigprocmask(2)."""
    return re.sub(r"^rt_|(?:at)?\d*$", "", name)


def named_in(mutant: Generated) -> Set[str]:
    """Calls that the changed lines name, also in a message such as "open({})"."""
    words = set(re.findall(r"\w+", mutant.old.lower())) | set(
        re.findall(r"sys_(\w+)", mutant.old.lower()))
    names = {plain(word) for word in words} | {KERNELS[word] for word in words & set(KERNELS)}
    return names - set(TOLERATED)


class FailingCalls:
    """Those of one stage, in all of its configurations. Several threads may ask."""

    def __init__(self, tools: scene.Tools, stage: str, program: pathlib.Path,
                 root: pathlib.Path) -> None:
        self.tools, self.stage, self.program, self.root = tools, stage, program, root
        self.calls: Dict[str, Set[str]] = {}  # by configuration
        self.sound: Dict[Tuple[str, str], Set[str]] = {}
        self.lock = threading.Lock()

    def world(self, program: pathlib.Path) -> World:
        tools = Tools(self.tools.agent, self.tools.probe, self.tools.busybox,
                      os.path.realpath(os.environ["HARNESS_INJECT"]), {self.stage: str(program)},
                      str(self.root))
        return World(HOST, tools, f"mutant-{program.parents[2].name}-{threading.get_ident()}")

    def seen_by(self, mutant: Generated, program: pathlib.Path, others: bool) -> str:
        """Which failing call shows it, and how: one that the changed line names, or `others`."""
        if others and mutant.kind not in OF_ERRORS:
            return ""
        names = named_in(mutant)
        with contextlib.ExitStack() as stack:
            world: Optional[World] = None
            for configuration in CONFIGURATIONS.values():
                if configuration.program != self.stage or not (
                        others or names & self.calls_of(configuration)):
                    continue
                world = world or stack.enter_context(self.world(program))
                with contextlib.suppress(RuntimeError):  # it does not start, which rows see
                    bench = Bench(world, configuration)
                    for fault in self.faults(bench, names, others):
                        found = self.bad(bench, fault)
                        if (found - self.usually(configuration, fault.call.name)
                                and found & self.bad(bench, fault)):
                            return (f"fault {configuration.name} {fault.call.name} {fault.error}"
                                    f" {', '.join(sorted(found))}")
        return ""

    @staticmethod
    def faults(bench: Bench, names: Set[str], others: bool) -> List[Fault]:
        calls = without_loops(bench.calls, bool(bench.configuration.cold))
        if not others:
            named = [call for call in calls if plain(call.name) in names]
            return [Fault(FAIL, call, ERRNOS.get(call.name, OF_ANY)[0])
                    for call in named[::len(named) // MOST + 1]]
        rest = [call for call in calls if plain(call.name) not in names
                and call.name not in TOLERATED]
        return list(faults_for(rest, FAIL, quick=True))

    @staticmethod
    def bad(bench: Bench, fault: Fault) -> Set[str]:
        record = bench.try_fault(fault)
        if not record.hit and record.exit != STATUS:  # it may have ended `inject`, too
            return {"ended otherwise"}
        return set(verdicts(record)) - {*GOOD, MISSED}

    def calls_of(self, configuration: Configuration) -> Set[str]:
        """The names of those that the program makes without the change; none if this machine cannot
        start it."""
        with self.lock:
            if configuration.name not in self.calls:
                with self.world(self.program) as world:
                    can = world.can_start(configuration)
                    calls = Bench(world, configuration).calls if can else []
                    self.calls[configuration.name] = {plain(call.name) for call in calls}
            return self.calls[configuration.name]

    def usually(self, configuration: Configuration, name: str) -> Set[str]:
        """What comes of failing calls of this name without the change: their numbers may differ."""
        key = (configuration.name, name)
        with self.lock:
            if key not in self.sound:
                with self.world(self.program) as world:
                    bench = Bench(world, configuration)
                    calls = [call for call in without_loops(bench.calls, bool(configuration.cold))
                             if call.name == name]
                    self.sound[key] = set().union(*(self.bad(bench, fault)
                                                    for fault in faults_for(calls, FAIL)))
            return self.sound[key]
