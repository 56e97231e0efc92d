"""Talks to an agent (harness/agent), which does on a host what the harness asks for.

The host is a place: this machine, HOST, or a virtual one, harness/vm. Callers need not know which.
"""

from __future__ import annotations

import json
import os
import secrets
import select
import subprocess
import tempfile
import time
from typing import Any, Dict, List, Optional, Protocol, Sequence, Tuple

Json = Dict[str, Any]

LONGEST_ANSWER = 64 << 20  # bytes


class Place(Protocol):
    """Where agents run."""

    name: str  # "host", "vm:6.1"
    is_root: bool  # whether agents are root there
    own_hosts: bool  # whether they may have a host of their own
    ordinary: Tuple[int, int]  # uid and gid there of the ordinary user who starts containers
    at_once: int  # this many scenes can run at the same time
    patience: float  # how much longer things take than on a usual machine
    tests_all: bool  # this place must be able to test everything
    hinders: bool  # a skip is allowed for what the harness itself may not do there
    selinux: bool  # its kernel uses SELinux, and it is there for the rows about that

    def boot(self) -> None:
        """Makes sure that it runs."""

    def command(self, words: Sequence[str]) -> List[str]:
        """The command to run on this machine so that `words` run there, on our standard streams."""

    def path(self, program: str) -> str:
        """The path there of a program of this machine."""


class Host:
    """This machine."""

    name = "host"
    is_root = own_hosts = os.geteuid() == 0
    ordinary = (os.geteuid() or 12345, os.getegid() if os.geteuid() != 0 else 12345)
    at_once = 8 if is_root else 1  # others would see each other's changes
    patience = 1.0
    tests_all = hinders = selinux = False

    def boot(self) -> None:
        pass

    def command(self, words: Sequence[str]) -> List[str]:
        return list(words)

    def path(self, program: str) -> str:
        return program


HOST = Host()


class Container(Host):
    """This machine, if it is a container that forbids new ones, and is thrown away afterwards."""

    name = "container"
    own_hosts = False
    at_once = 1
    hinders = True


class PlaceError(Exception):
    """The place is not available. The text is for users: what failed, and what to do."""


class AgentError(Exception):
    """The agent's reply to a request that failed."""

    def __init__(self, message: str, errno: str = "") -> None:
        super().__init__(message)
        self.errno = errno


class AgentLost(Exception):
    """The agent does not reply any more."""


class Agent:
    """One agent, as a child process, or the child of one in another place.

    With `own_host` it runs in namespaces of its own there, for which it needs root.

    Two threads must not share one: each needs an agent of its own.
    """

    def __init__(self, program: str, own_host: Optional[bool] = None,
                 keep: Sequence[str] = (), user: Optional[int] = None,
                 place: Place = HOST) -> None:
        if own_host is None:
            own_host = place.own_hosts and user is None
        self.place = place
        words = [place.path(program)] + (["--own-host"] + list(keep) if own_host else [])
        self._complaints = tempfile.TemporaryFile()
        self._process = subprocess.Popen(place.command(words), stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=self._complaints,
                                         bufsize=0, user=user, group=user,
                                         extra_groups=None if user is None else [])
        self._buffer = b""
        self.about = self.ask("hello")

    def __enter__(self) -> Agent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_root(self) -> bool:
        return self.about["uid"] == 0

    @property
    def has_own_host(self) -> bool:
        return self.about["own_host"]

    def ask(self, verb: str, answer_within: float = 30.0, **arguments: Any) -> Any:
        """Sends one request and waits for its reply."""
        # It must be hard to guess, because programs that are tested as root of the agent's host can
        # write into its pipes.
        number = secrets.randbits(62)
        line = json.dumps({"id": number, "do": verb, **arguments}) + "\n"
        try:
            assert self._process.stdin is not None
            data = line.encode()
            while data:
                data = data[self._process.stdin.write(data):]
        except OSError as error:
            raise self._lost(f"the agent is gone: {error}") from error
        deadline = time.monotonic() + answer_within * self.place.patience
        while True:
            answer = self._read_answer(deadline)
            if answer.get("id") == number:
                break
        if "error" in answer:
            raise AgentError(answer["error"], answer.get("errno", ""))
        return answer["ok"]

    def _read_answer(self, deadline: float) -> Json:
        try:
            answer = json.loads(self._read_line(deadline))
        except (ValueError, RecursionError) as error:
            raise self._lost("the agent's reply is not valid") from error
        return answer if isinstance(answer, dict) else {}

    def _read_line(self, deadline: float) -> bytes:
        """One line, of output that may never end."""
        assert self._process.stdout is not None
        fd = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([fd], [], [], max(0.0, left))
            if not ready or left < 0:
                raise self._lost("the agent does not reply")
            if len(self._buffer) > LONGEST_ANSWER:
                raise self._lost("the agent's reply does not end")
            part = os.read(fd, 1 << 20)
            if not part:
                raise self._lost("the agent has ended")
            self._buffer += part
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line

    def _lost(self, what: str) -> AgentLost:
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip()
        return AgentLost(f"{what}: {said}" if said else what)

    def close(self) -> None:
        """Ends the agent, and with it every program that it has started."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._complaints.close()

    # The most frequent requests, by name.

    def run(self, argv: Sequence[str], time_limit: float = 5.0, **options: Any) -> Json:
        """Starts a program, waits for its end, and kills the processes that it left."""
        milliseconds = int(time_limit * 1000)
        return self.ask("run", argv=list(argv), time_limit_ms=milliseconds,
                        answer_within=time_limit + 10, **options)

    def start(self, argv: Sequence[str], time_limit: float = 10.0, **options: Any) -> Json:
        return self.ask("start", argv=list(argv), time_limit_ms=int(time_limit * 1000), **options)

    def expect(self, run: int, text: str, time_limit: float) -> Json:
        """Waits until the run has written `text`, the run has ended, or the time is over."""
        return self.ask("expect", run=run, text=text, time_limit_ms=int(time_limit * 1000),
                        answer_within=time_limit + 10)

    def wait(self, run: int, time_limit: float) -> Json:
        return self.ask("wait", run=run, time_limit_ms=int(time_limit * 1000),
                        answer_within=time_limit + 10)

    def write(self, run: int, text: str, close: bool = False) -> None:
        self.ask("write", run=run, text=text, close=close)

    def signal(self, signal: str, **target: Any) -> None:
        self.ask("signal", signal=signal, **target)

    def finish(self, run: int) -> Json:
        return self.ask("finish", run=run)

    def processes(self) -> List[Json]:
        return self.ask("processes")

    def make(self, files: Sequence[Json]) -> None:
        self.ask("make", files=list(files))

    def read(self, *paths: str) -> Json:
        return self.ask("read", paths=list(paths))

    def readlink(self, *paths: str) -> Json:
        return self.ask("readlink", paths=list(paths))

    def stat(self, *paths: str, follow: bool = True) -> Json:
        return self.ask("stat", paths=list(paths), follow=follow)

    def list(self, *paths: str) -> Json:
        return self.ask("list", paths=list(paths))
