"""What was seen of a program: a Look, from which the observations judge."""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import Any, Dict, List, Mapping, Tuple

from harness.agent_client import HOST, Json
from harness.properties.verdict import ROOT, NotStarted, NotTestable, ProbeBroke


class Turn(enum.IntEnum):
    """When the probe does what it is asked to; within a turn, in the order of the stages."""

    SELF = 0  # what it reads about itself
    SECRET = 1  # whether it can reach the host's secret
    LOOK = 2  # what else exists, and what it may do
    ATTACK = 3  # what no container needs
    LATE = 4  # after the host has been looked at, and has changed its name and mounted something
    LAST = 5  # what may uncover the root


@dataclasses.dataclass(frozen=True)
class Ask:
    """Something for the probe to do: `verb` is a template, filled in with the scene's names. {in}
    is where the root directory is for the probe."""

    verb: str
    turn: Turn = Turn.LOOK

    @property
    def late(self) -> bool:
        return self.turn >= Turn.LATE


@dataclasses.dataclass
class Look:
    """What was seen. Facts come from the host, answers from the probe."""

    identity: str
    names: Dict[str, str]
    ordinary: Tuple[int, int] = HOST.ordinary
    table: Mapping[str, Ask] = dataclasses.field(default_factory=dict)  # what can be asked
    answers: Dict[str, List[Json]] = dataclasses.field(default_factory=dict)
    facts: Dict[str, Any] = dataclasses.field(default_factory=dict)
    runs: Dict[str, Json] = dataclasses.field(default_factory=dict)
    problem: str = ""  # why the program never ran the command
    missing: Dict[str, NotTestable] = dataclasses.field(default_factory=dict)  # by ask
    left: List[str] = dataclasses.field(default_factory=list)  # processes, by the program's end
    leaks: List[str] = dataclasses.field(default_factory=list)  # what else is left on the host
    ran: bool = False  # whether the program has run a command at all
    witnessed: bool = False  # whether the host has seen the probe run
    claimed: bool = False  # whether it answered, but was not there when it should wait
    tried: str = ""  # how the program was started last, with a command to paste
    lacking: str = ""  # an option that the program says it does not know

    @property
    def uid(self) -> int:
        return 0 if self.identity == ROOT else self.ordinary[0]

    @property
    def gid(self) -> int:
        return 0 if self.identity == ROOT else self.ordinary[1]

    def answer(self, ask: str) -> Json:
        """What the probe answered to a key of the table."""
        self.check_that_it_is_there(ask)
        if self.problem:
            raise NotStarted(self.problem)
        self.check_that_it_ran()
        if "{in}" in self.table[ask].verb and self.is_in_the_hosts_root():
            raise NotStarted("the command is in the host's root directory: what the new one"
                             " contains is not there")
        given = self.answers.get(self.table[ask].verb.format_map(self.names), [])
        index = 1 if ask == "hostname_again" else 0  # the one verb that is asked for twice
        if len(given) <= index or "died" in given[index] or "unknown" in given[index]:
            raise ProbeBroke(f"no answer to {ask}; answered: {self.answers}; {self.tell_runs()}")
        return given[index]

    def check_that_it_is_there(self, ask: str) -> None:
        """What the container must not see has to exist on the host; otherwise it proves nothing."""
        if ask in self.missing:
            raise self.missing[ask]

    def is_in_the_hosts_root(self) -> bool:
        """Where it must be in another: then a file of that is missing for the wrong reason."""
        own, hosts = (self.facts.get("places", {}).get(name, {}) for name in ("PROBE/root", "/"))
        return (not self.names["in"] and "ino" in own
                and (own["dev"], own["ino"]) == (hosts.get("dev"), hosts.get("ino")))

    def fact(self, name: str) -> Any:
        if self.problem:
            raise NotStarted(self.problem)
        if name not in self.facts:
            self.check_that_it_ran()
            raise ProbeBroke(f"{name} was not seen; {self.tell_runs()}")
        return self.facts[name]

    def check_that_it_ran(self) -> None:
        """A program that was started and never ran the command: nothing of the probe's is there."""
        if self.runs and not self.answers:
            raise never_ran(list(self.runs.values())[-1])

    def run(self, name: str) -> Json:
        if name in self.runs:
            return self.runs[name]
        raise NotStarted(self.problem or f"{name} was not run")

    def tell_runs(self) -> str:
        return "; ".join(f"{name}: {tell_run(run)}" for name, run in self.runs.items())


def never_ran(run: Json) -> NotStarted:
    return NotStarted(f"the container never ran the command: {tell_run(run)}")


# What languages and our own stages add below the line that says what is wrong.
ADDED = ("note:", "hint:", "goroutine ", "created by ", "exit status ", " ", "\t")
PANICS = ("panic:", "fatal error:")
# In which bash repeats the line that it does not understand, below the one that says why.
REPEATED = re.compile(r": line \d+: `.*'$")
PROBES = '{"nonce":'  # what the probe writes: JSON


def last_error(stderr: str) -> str:
    """The line in which a program says why it gave up: usually the last one."""
    lines = [line for line in stderr.splitlines() if line.strip()]
    for line in lines:
        if line.startswith(PANICS):  # after which Go tells where
            return line.strip()
    own = [line for line in lines if not line.startswith(ADDED) and not REPEATED.search(line)]
    return (own or lines or [""])[-1].strip()


def tell_run(run: Json) -> str:
    """A run in one line: its last message, how it ended, and the end of its output."""
    if run["why"] == "time limit":
        end = "did not end within the time limit"
    elif run["why"] == "output limit":
        end = "wrote more than the output limit"
    elif run["why"] == "killed":
        end = "still ran, and was killed"
    elif not run["over"]:
        end = "still runs"
    else:
        end = f"signal {run['signal']}" if "signal" in run else f"exit status {run['exit']}"
    # On a terminal both are one; and some write errors to stdout. The probe writes no errors.
    said = run["stdout"].splitlines(keepends=True)
    stdout = "".join(line for line in said if not line.startswith(PROBES))
    error = last_error(run["stderr"] or ("" if PROBES in run["stdout"] else stdout))
    told = [repr(shorten(error))] if error else []
    told.append(end)
    # Go tells where a panic was, line by line, and where that of the caller was.
    if run["stderr"].strip() not in ("", error) and not error.startswith(PANICS):
        told.append(f"stderr ends with {shorten(run['stderr'])!r}")
    if stdout.strip() not in ("", error):
        told.append(f"stdout ends with {shorten(stdout)!r}")
    return ", ".join(told)


def shorten(text: str, limit: int = 300) -> str:
    """Its end: there stands what went wrong."""
    return text if len(text) <= limit else f"({len(text)} characters) ...{text[-limit:]}"
