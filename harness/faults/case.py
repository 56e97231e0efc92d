"""One case: a container is started, with a fault or in odd surroundings, and looked at.
Then the harness looks for leftovers, and starts the container again as usual."""

from __future__ import annotations

import dataclasses
import re
import secrets
import time
from typing import Dict, List, Optional, Sequence, Set, Tuple

from harness.agent_client import AgentError, Json
from harness.faults.configurations import Configuration
from harness.faults.faults import RESTART, Call, Fault, calls_of
from harness.faults.isolation import (ASKS, FILES, NAMESPACES, Changes, Key, answers_of, changes,
                                      isolation_of)
from harness.faults.world import World

STATUS = 42  # of the command's own
INSIDE = ("/dev", "/dev/null", "/dev/tty", "/etc/hosts", "/etc/resolv.conf", "/proc/sys",
          "/proc/kcore", "/proc/keys", "/sys/firmware", "/sys/fs/cgroup")
AT_ITS_END = 2.0  # seconds within which a container's helpers must end
HANGS = 20.0  # seconds, far more than any start needs
NOT_STARTED = 999


@dataclasses.dataclass(frozen=True)
class Surroundings:
    """What is odd about a start. The scripts are root's, in the world."""

    name: str
    ignored: Tuple[str, ...] = ()  # the keys that must differ
    wrapper: Tuple[str, ...] = ()  # what starts the program
    before: str = ""
    between: str = ""  # before the next start
    after: str = ""
    circumstances: Json = dataclasses.field(default_factory=dict)  # for the agent's "start"


AS_USUAL = Surroundings("")
# A tar that outlives the parent is still at work when the next start is over.
SLOW_TAR = Surroundings("", circumstances={"more_env": {
    "TAR_OPTIONS": "--checkpoint=40 --checkpoint-action=sleep=1"}})


@dataclasses.dataclass
class Start:
    """How one start went."""

    exit: Optional[int] = None
    signal: Optional[int] = None
    hung: bool = False
    ran: bool = False  # the command did
    stderr: str = ""
    key: Optional[Key] = None
    left: List[str] = dataclasses.field(default_factory=list)
    left_processes: List[str] = dataclasses.field(default_factory=list)
    alive: List[str] = dataclasses.field(default_factory=list)  # when it hung


@dataclasses.dataclass
class Record:
    """A case and its outcome: a line of the results."""

    configuration: str
    kind: str  # "fail", "kill", ..., or a group of surroundings
    case: str  # by which it is found again
    hit: bool = True
    error: str = ""  # the errno's name
    call: str = ""  # the system call, with its arguments
    exit: Optional[int] = None
    signal: Optional[int] = None
    hung: bool = False
    ran: bool = False
    seen: bool = False  # from outside: what isolates it was compared
    stderr: str = ""
    changes: Changes = dataclasses.field(default_factory=dict)
    left: List[str] = dataclasses.field(default_factory=list)
    left_processes: List[str] = dataclasses.field(default_factory=list)
    alive: List[str] = dataclasses.field(default_factory=list)
    next_exit: Optional[int] = None  # of the start after it, if there was one
    next_stderr: str = ""
    next_changes: Changes = dataclasses.field(default_factory=dict)
    left_for_good: List[str] = dataclasses.field(default_factory=list)

    def json(self) -> Json:
        """Without the parts that are as usual."""
        usual = Record(self.configuration, self.kind, self.case)
        return {name: value for name, value in dataclasses.asdict(self).items()
                if name in ("configuration", "kind", "case") or value != getattr(usual, name)}

    @staticmethod
    def of_json(json: Json) -> Record:
        record = Record(**json)
        for name in ("changes", "next_changes"):
            setattr(record, name, {key: tuple(pair) for key, pair in getattr(record, name).items()})
        return record


class Bench:
    """A configuration in a world, and how it goes without a fault."""

    def __init__(self, world: World, configuration: Configuration) -> None:
        self.world = world
        self.configuration = configuration
        self.key: Key = {}
        self.calls: List[Call] = []
        self.usual: Set[str] = set()  # what exists after a usual start
        self.usual_lines: Set[str] = set()  # that it writes to stderr
        self.before: Set[str] = set()  # and before the one that is looked at
        self._get_to_know()

    def _get_to_know(self) -> None:
        """Twice with the calls traced, once without: differences between these are ignored."""
        keys = []
        for fault in ([], [], None):
            slice_ = self.world.new_cgroup(self.configuration.user)
            self.world.reset(self.configuration)
            start = self._start(slice_, fault)
            if start.exit != STATUS or start.key is None or start.left_processes:
                raise RuntimeError(f"{self.configuration.name} does not start as usual: {start}")
            keys.append(start.key)
            self.usual_lines |= set(map(_without_numbers, start.stderr.splitlines()))
            self.usual |= self.world.state(slice_, self.configuration)
            self.world.end_cgroup(slice_)
            if fault is not None:
                self.calls = calls_of(self.world.log())
        self.key = {name: value for name, value in keys[0].items()
                    if all(other.get(name) == value for other in keys)}

    # --- Cases ---------------------------------------------------------------------------------

    def try_fault(self, fault: Fault) -> Record:
        record = Record(self.configuration.name, fault.kind, fault.name, error=fault.error,
                        hit=False)
        self._try(record, fault.words(), SLOW_TAR if fault.kind == RESTART else AS_USUAL)
        for line in self.world.log().splitlines():
            what, *fields = line.split("\t")
            if what == "fault":
                # Not always the call that had this number in the usual start.
                _, name, _, _, text = fields
                record.hit, record.call = True, f"{name} {text}"[:200]
        return record

    def try_surroundings(self, group: str, odd: Surroundings) -> Record:
        record = Record(self.configuration.name, group, odd.name)
        if odd.before:
            self.world.shell(odd.before)
        self._try(record, None, odd)
        if odd.after:
            self.world.shell(odd.after)
        for key in odd.ignored:
            record.changes.pop(key, None)
        return record

    def _try(self, record: Record, fault: Optional[Sequence[str]],
             odd: Surroundings = AS_USUAL) -> None:
        self.world.reset(self.configuration)
        slice_ = self.world.new_cgroup(self.configuration.user)
        self.before = self.world.state(slice_, self.configuration)
        start = self._start(slice_, fault, odd, looks=record.kind != RESTART)
        record.exit, record.signal, record.hung = start.exit, start.signal, start.hung
        record.ran, record.alive = start.ran, start.alive
        record.stderr = "".join(
            line for line in start.stderr.splitlines(keepends=True)
            if _without_numbers(line.rstrip("\r\n")) not in self.usual_lines)[-1500:]
        if start.key is not None:
            record.seen, record.changes = True, self._changes(start.key)
        record.left, record.left_processes = start.left, start.left_processes
        if odd.between:
            self.world.shell(odd.between)
        shared = self.configuration.cold or record.kind == RESTART
        if start.left or start.left_processes or start.hung or shared:
            self._start_again(record, slice_)
        self.world.end_cgroup(slice_)
        self._tidy(record)

    def _start_again(self, record: Record, slice_: str) -> None:
        self.world.delete_container(self.configuration)
        again = self._start(slice_, None)
        record.next_exit, record.next_stderr = again.exit, again.stderr[-500:]
        if again.key is not None:
            record.next_changes = self._changes(again.key)
        record.left_for_good = again.left + again.left_processes

    def _tidy(self, record: Record) -> None:
        if self.configuration.bridge and (record.left or record.left_processes):
            self.world.clean_network()
        self.world.remove(record.left_for_good)

    def _changes(self, key: Key) -> Changes:
        return changes(self.key, {name: key.get(name, "") for name in self.key})

    # --- A start -------------------------------------------------------------------------------

    def _command(self, nonce: str) -> List[str]:
        if self.configuration.own_root:
            probe = "/probe" if self.configuration.has_root else "/tmp/faults/bin/probe"
            return [probe, nonce, *ASKS, "hold", f"exit={STATUS}"]
        held = f'{{"nonce":"{nonce}","verb":"hold","held":"waiting"}}'
        return ["sh", "-c", f"echo '{held}'; read line; exit {STATUS}", nonce]

    def _start(self, slice_: str, fault: Optional[Sequence[str]],
               odd: Surroundings = AS_USUAL, looks: bool = True) -> Start:
        """Without `looks`, leftovers are not looked for, because the next start follows at once."""
        world, agent = self.world, self.world.agent
        nonce = "n" + secrets.token_hex(6)
        limit = HANGS * world.place.patience
        start = Start()
        try:
            run = world.start(self.configuration, slice_, self._command(nonce), fault, odd.wrapper,
                              **odd.circumstances)
        except AgentError as error:  # execve(2) itself failed: there is no program to be judged
            return Start(exit=NOT_STARTED, stderr=str(error))
        seen = agent.expect(run, '"waiting"', limit)
        if seen["found"] and not seen["over"]:
            start.key = self._look_at(nonce)
            agent.write(run, "\n", close=True)
        done = agent.wait(run, limit)
        if not done["over"]:
            start.hung = True
            start.alive = world.processes()
        if done["over"]:
            agent.ask("forget", run=run)  # its terminal, of which a machine has some thousands
        else:
            done = agent.ask("finish", run=run)
        start.exit, start.signal = done.get("exit"), done.get("signal")
        start.stderr = done["stdout"] if self.configuration.terminal else done["stderr"]
        answers, held = answers_of(done["stdout"], nonce)
        start.ran = bool(held or answers)
        if start.key is not None:
            start.key.update({f"asked {verb}": text for verb, text in answers.items()})
        if looks:
            start.left_processes = world.wait_for_processes(AT_ITS_END)
            start.left = self._state_left(slice_)
        return start

    def _state_left(self, slice_: str) -> List[str]:
        """A bridge's link may outlive the janitor for a moment: the kernel removes it later."""
        end = time.monotonic() + AT_ITS_END * self.configuration.bridge
        while True:
            left = sorted(self.world.state(slice_, self.configuration) - self.usual - self.before)
            if not any(line.startswith("link ") for line in left) or time.monotonic() > end:
                return left
            time.sleep(0.02)

    def _look_at(self, nonce: str) -> Optional[Key]:
        """What the host sees of the command, which holds still. None if it does not exist any
        more."""
        agent = self.world.agent
        # The first of them: a child of the probe's, which has asked for something, may still end.
        found = [process["pid"] for process in agent.processes()
                 if nonce in process["argv"] and process["name"] in ("probe", "sh", "busybox")]
        if not found:
            return None
        folder = f"/proc/{min(found)}"
        names = [f"ns/{name}" for name in NAMESPACES] + ["root", "cwd"]
        links = _below(folder, agent.readlink(*[f"{folder}/{name}" for name in names]))
        host = _below("/proc/self", agent.readlink(*[f"/proc/self/ns/{name}"
                                                     for name in NAMESPACES]))
        wanted = ("status", "mountinfo", "net/dev", "net/route", "cgroup", *FILES)
        files = _below(folder, agent.read(*[f"{folder}/{name}" for name in wanted]))
        if not links["root"].startswith("/"):
            return None  # it has ended in the meantime
        descriptors = agent.list(f"{folder}/fd")[f"{folder}/fd"].get("entries", {})
        inside = agent.stat(*[f"{folder}/root{path}" for path in INSIDE], follow=False)
        return isolation_of(links, files, descriptors,
                            {path: _about(inside[f"{folder}/root{path}"]) for path in INSIDE},
                            host)


def _without_numbers(line: str) -> str:
    return re.sub(r"\d+(\.\d+)?", "N", line)


def _below(folder: str, answers: Json) -> Dict[str, str]:
    return {path[len(folder) + 1:]: answer.get("text", answer.get("errno", ""))
            for path, answer in answers.items()}


def _about(status: Json) -> str:
    if "errno" in status:
        return status["errno"]
    return f"{status['mode']:o} uid {status['uid']} device {status['rdev']}"
