"""Scenes: what is set up on the host, how the container is started, and what is then looked at.

A scene is one start of the program under test, or a few that belong together. It knows nothing but
the command line that all stages share. It returns a Look, of which the rows of properties.py read.
"""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import pathlib
import re
import secrets
import signal as signal_numbers
import time
from collections import Counter
from typing import (Any, Callable, Dict, FrozenSet, List, Optional, Sequence, Set, Tuple,
                    Union)

from harness import oci_layout as oci
from harness.agent_client import HOST, Agent, AgentError, Json
from harness.properties.model import (ROOT, NotInKernel, NotStarted, NotTestable, ProbeBroke,
                                      stage_number)

STRANGER = 54321  # an id of the host that is nobody's in any container
PROC_MAGIC = 0x9FA0  # what statfs(2) calls a procfs
NEWER_CALL = 451  # cachestat(2), of Linux 6.5, on every architecture: newer than filters know


# What the scenes call by its short name.
SHORT = {"-e": "--env", "-u": "--user", "-v": "--volume", "-w": "--workdir"}

# Words that a shell, or a split at spaces, would change.
WORDS = ["two words", "", "$HOME", "*", "quote\"'", "new\nline"]


@dataclasses.dataclass(frozen=True)
class Tools:
    """Where the harness' own programs are, for the agent."""

    agent: str
    probe: str
    busybox: str


@dataclasses.dataclass(frozen=True)
class Ask:
    """Something for the probe to do: `verb` is a template, filled in with the scene's names."""

    verb: str
    late: bool = False  # after the host has been looked at and changed


# In the order in which the probe does them. {in} is where the root directory is for the probe.
ASKS: Dict[str, Ask] = {
    "hello": Ask("hello"),  # which every scene begins with
    "arguments": Ask("arguments"),
    "cwd": Ask("cwd"),
    "hostname": Ask("hostname"),
    "secret": Ask("read={secret}"),
    "secret_up": Ask("read_up={secret}"),
    "secret_by_link": Ask("read={in}/link"),
    "secret_by_fd": Ask("read_from=8,{secret}"),
    "host_processes": Ask("processes={victim},{in}/tmp/proc"),
    "proc": Ask("stat=/proc"),
    "sysv": Ask("sysv={sysv_key}"),
    "queue": Ask("queue=/{nonce}"),
    "mine": Ask("write={in}/tmp/made-{nonce}"),
    "stranger": Ask("stat={in}/theirs"),
    "private": Ask("read={in}/private"),
    "mknod": Ask("mknod={in}/tmp/node,1,5"),
    "chown": Ask("chown={in}/theirs,0"),
    "setuid": Ask("setuid={stranger}"),
    "dev": Ask("list={in}/dev"),
    "dev_null": Ask("stat={in}/dev/null"),
    "dev_null_write": Ask("write={in}/dev/null"),
    "planted": Ask("read={in}/etc/planted"),
    "dev_fd": Ask("stat=/dev/stdin"),
    "shm": Ask("write=/dev/shm/{nonce}"),
    "new_terminal": Ask("new_terminal"),
    "sysctl": Ask("open_to_write=/proc/sys/kernel/core_pattern"),
    "keys": Ask("read=/proc/keys"),
    "timers": Ask("read=/proc/timer_list"),
    "interrupts": Ask("read=/proc/interrupts"),
    "firmware": Ask("list={in}/sys/firmware"),
    "root_write": Ask("write={in}/written-{nonce}"),
    "host_port": Ask("connect=127.0.0.1,{port}"),
    "host_abstract": Ask("connect_abstract=box-{nonce}"),
    "loopback": Ask("loopback"),
    "links": Ask("list={in}/sys/class/net"),
    "by_chroot": Ask("escape_by_chroot={secret},{in}/tmp/a"),
    "by_descriptor": Ask("escape_by_descriptor={secret},{in}/tmp/b"),
    "forbidden_calls": Ask("forbidden_calls"),
    "int80_calls": Ask("int80_calls"),
    "x32_calls": Ask("x32_calls"),
    "newer_call": Ask(f"call={NEWER_CALL}"),
    "clone3": Ask("clone3"),
    "terminal_input": Ask("terminal_input=0"),
    "terminal_input_disguised": Ask("terminal_input=1"),
    "socket_families": Ask("socket_families"),
    "new_namespaces": Ask("new_namespaces"),
    # After the host was looked at, and has changed its name and mounted something.
    "hostname_again": Ask("hostname", late=True),
    "host_mount": Ask("read={in}/mnt/host/seen", late=True),
    "kill": Ask("kill={victim_pid},9", late=True),
    "make_sysv": Ask("make_sysv={own_sysv_key}", late=True),
    "make_queue": Ask("make_queue=/own-{nonce}", late=True),
    "mount": Ask("mount={in}/mnt/own", late=True),
    "set_hostname": Ask("set_hostname=inside-{nonce}", late=True),
    "lift_mask": Ask("umount=/proc/sys", late=True),
    "by_setns": Ask("escape_by_setns={secret}", late=True),  # last: it may uncover the root
}


@dataclasses.dataclass
class Look:
    """What was seen. Facts come from the host, answers from the probe."""

    identity: str
    names: Dict[str, str]
    ordinary: Tuple[int, int] = HOST.ordinary
    answers: Dict[str, List[Json]] = dataclasses.field(default_factory=dict)
    facts: Dict[str, Any] = dataclasses.field(default_factory=dict)
    runs: Dict[str, Json] = dataclasses.field(default_factory=dict)
    problem: str = ""  # why the program never ran the command
    missing: Dict[str, NotTestable] = dataclasses.field(default_factory=dict)  # by ask
    left: List[str] = dataclasses.field(default_factory=list)  # processes, by the program's end
    leaks: List[str] = dataclasses.field(default_factory=list)  # what else is left on the host

    @property
    def uid(self) -> int:
        return 0 if self.identity == ROOT else self.ordinary[0]

    @property
    def gid(self) -> int:
        return 0 if self.identity == ROOT else self.ordinary[1]

    def answer(self, ask: str) -> Json:
        """What the probe answered to a key of ASKS."""
        self.check_that_it_is_there(ask)
        if self.problem:
            raise NotStarted(self.problem)
        given = self.answers.get(ASKS[ask].verb.format_map(self.names), [])
        index = 1 if ask == "hostname_again" else 0  # the one verb that is asked for twice
        if len(given) <= index or "died" in given[index] or "unknown" in given[index]:
            raise ProbeBroke(f"no answer to {ask}; answered: {self.answers}; {self.tell_runs()}")
        return given[index]

    def check_that_it_is_there(self, ask: str) -> None:
        """What the container must not see has to be on the host: else it proves nothing."""
        if ask in self.missing:
            raise self.missing[ask]

    def fact(self, name: str) -> Any:
        if self.problem:
            raise NotStarted(self.problem)
        if name not in self.facts:
            raise ProbeBroke(f"{name} was not seen; {self.tell_runs()}")
        return self.facts[name]

    def run(self, name: str) -> Json:
        if name in self.runs:
            return self.runs[name]
        raise NotStarted(self.problem or f"{name} was not run")

    def tell_runs(self) -> str:
        return "; ".join(f"{name}: {tell_run(run)}" for name, run in self.runs.items())


def tell_run(run: Json) -> str:
    """A run in one line: how it ended, and the beginning of what it wrote."""
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
    texts = [f"{name} {shorten(run[name])!r}" for name in ("stdout", "stderr") if run[name]]
    return ", ".join([end] + texts)


def shorten(text: str, limit: int = 300) -> str:
    return text if len(text) <= limit else text[:limit] + f"... ({len(text)} characters)"


@dataclasses.dataclass
class Stage:
    """A program under test, started by somebody on an agent's host."""

    agent: Agent
    tools: Tools
    program: str
    stage: str
    identity: str
    asks: FrozenSet[str]
    time_limit: float = 5.0
    folder: str = ""
    cgroup: str = ""  # that of the caller, where there is cgroup v2
    delegated: str = ""  # the one above it
    names: Dict[str, str] = dataclasses.field(default_factory=dict)
    before: Json = dataclasses.field(default_factory=dict)
    used: Set[str] = dataclasses.field(default_factory=set)  # options, and those with their values

    def __post_init__(self) -> None:
        nonce = secrets.token_hex(6)
        self.folder = self.folder or f"/tmp/box-{nonce}"
        self.names = {
            "nonce": nonce,
            "secret": f"{self.folder}/secret",
            "in": "" if self.at_least("02") else f"{self.folder}/root",
            "victim": f"victim-{nonce}",
            "stranger": str(STRANGER),
            "sysv_key": str(int(nonce[:7], 16) | 1),
            "own_sysv_key": str(int(nonce[5:], 16) | 1),
            "hostname": f"inside-{nonce[:4]}",
            "port": str(20000 + int(nonce[:4], 16) % 10000),
            "host_hostname": f"host-{nonce[:4]}",
        }

    def at_least(self, stage: str) -> bool:
        return stage_number(self.stage) >= stage_number(stage)

    @property
    def nonce(self) -> str:
        return self.names["nonce"]

    @property
    def root(self) -> str:
        return f"{self.folder}/root"

    @property
    def host_probe(self) -> str:
        """The probe where it can be started on the host, by everybody."""
        return f"{self.folder}/probe"

    @property
    def owner(self) -> Json:
        if not self.agent.is_root:
            return {}
        uid, gid = (0, 0) if self.identity == ROOT else self.agent.place.ordinary
        return {"uid": uid, "gid": gid}

    # --- What is on the host ------------------------------------------------------------------

    def make_host(self) -> None:
        """A small root file system with the probe in it, a secret, a home."""
        def entry(path: str, kind: str = "file", **more: Any) -> Json:
            return {"kind": kind, "path": f"{self.folder}/{path}" if path else self.folder,
                    **self.owner, **more}

        folders = [entry("", "directory", mode=0o755)]
        folders += [entry(name, "directory", mode=0o755) for name in (
            "root", "home", "temporary", "cwd", "volume", "outside", "mark", "bin", "root/bin",
            "root/dev",
            "root/etc", "root/mnt", "root/mnt/host", "root/mnt/own", "root/proc", "root/root",
            "root/run", "root/sbin", "root/sys", "root/usr", "root/usr/bin")]
        folders.append(entry("root/tmp", "directory", mode=0o1777))
        files = [
            entry("secret", text=f"secret-{self.nonce}", mode=0o644),
            entry("volume/file", text=f"volume-{self.nonce}", mode=0o644),
            entry("cwd/file", text="", mode=0o644),
            entry("root/.marker", text=self.nonce, mode=0o644),
            entry("probe", copy_from=self.tools.probe, mode=0o755),
            entry("root/probe", copy_from=self.tools.probe, mode=0o755),
            entry("root/bin/busybox", copy_from=self.tools.busybox, mode=0o755),
            entry("root/bin/sh", "link", text="busybox"),
            entry("root/bin/hostname", "link", text="busybox"),
            entry("root/link", "link", text=f"{self.folder}/secret"),
            entry("root/etc/passwd", text="root:x:0:0:root:/root:/bin/sh\n", mode=0o644),
            entry("root/not-executable", text="no program\n", mode=0o644),
        ]
        if self.agent.is_root:
            stranger = {"uid": STRANGER, "gid": STRANGER}
            files += [
                {**entry("root/theirs", text="theirs", mode=0o644), **stranger},
                {**entry("root/private", text=f"private-{self.nonce}", mode=0o600), **stranger},
            ]
        if self.agent.has_own_host:  # in a container, root may have no devices, see mknod(2)
            files += [
                entry("root/etc/planted", "device", major=1, minor=5, mode=0o666),
                entry("root/dev/planted", "device", major=1, minor=5, mode=0o666),
            ]
        self.agent.make(folders + files)
        self.make_cgroup()
        if self.agent.has_own_host:
            self.busybox("hostname", self.names["host_hostname"])
            if self.identity != ROOT:
                self.show_program_to_user()

    def make_cgroup(self) -> None:
        """A session of the caller's, and another cgroup beside it, in one that is delegated to him,
        see cgroups(7); as systemd has it. Without the controllers there is none."""
        top = "/sys/fs/cgroup"
        given = self.agent.read(f"{top}/cgroup.subtree_control").popitem()[1].get("text", "")
        if not self.agent.has_own_host or not {"cpu", "memory", "pids"} <= set(given.split()):
            return
        self.delegated = f"{top}/box-{self.nonce}.slice"
        self.cgroup, other = f"{self.delegated}/session.scope", f"{self.delegated}/other"
        self.names.update(cgroups=top, delegated=os.path.basename(self.delegated), other=other)
        for cgroup in (self.delegated, self.cgroup, other):
            self.agent.make([{"kind": "directory", "path": cgroup, **self.owner}] +
                            [{"path": f"{cgroup}/cgroup.{name}", **self.owner}
                             for name in ("procs", "threads", "subtree_control")])

    def show_program_to_user(self) -> None:
        """An ordinary user need not be able to walk to where the program was built: he is shown all
        that lies below the last directory that he cannot enter, in another place."""
        parents = [str(path) for path in reversed(pathlib.PurePath(self.program).parents)]
        places = self.agent.stat(*parents)
        closed = [path for path in parents if places[path].get("mode", 0) & 0o001 == 0]
        if not closed:
            return
        inside = pathlib.PurePath(self.program).relative_to(closed[-1])
        start = f"{closed[-1]}/{inside.parts[0]}"
        if len(inside.parts) == 1:
            self.agent.make([{"path": f"{self.folder}/bin/{inside}"}])
            self.busybox("mount", "--bind", start, f"{self.folder}/bin/{inside}")
        else:
            self.busybox("mount", "--bind", start, f"{self.folder}/bin")
            inside = inside.relative_to(inside.parts[0])
        self.program = f"{self.folder}/bin/{inside}"

    def busybox(self, *words: str) -> Json:
        """Runs an applet on the host, as root if the agent is."""
        done = self.agent.run(["busybox", *words], program=self.tools.busybox)
        if done.get("exit") != 0:
            raise ProbeBroke(f"busybox {' '.join(words)}: {tell_run(done)}")
        return done

    def watch(self) -> None:
        """From here on, what changes on the host is the program's doing."""
        self.before = self.snapshot()

    def missing(self) -> Dict[str, NotTestable]:
        """The questions that prove nothing on this host: what they are about is not there."""
        files = {"secret": self.names["secret"], "private": f"{self.root}/private",
                 "stranger": f"{self.root}/theirs", "chown": f"{self.root}/theirs",
                 "planted": f"{self.root}/etc/planted"}
        places = self.agent.stat(*files.values())
        why = "needs root on the host: "
        missing = {ask: NotTestable(f"{why}{os.path.relpath(path, self.folder)} cannot be made")
                   for ask, path in files.items() if "errno" in places[path]}
        if not self.agent.has_own_host:
            missing["hostname_again"] = NotTestable(why + "its name must change")
            missing["host_mount"] = missing["mark"] = NotTestable(
                why + "something must be mounted")
        if self.asks & {"int80_calls", "x32_calls", "newer_call"}:
            missing.update(self.missing_calls())
        if not self.is_shared(self.root):
            missing["mount"] = missing["shared"] = NotTestable(why + "the mounts are not shared")
        return missing

    def missing_calls(self) -> Dict[str, NotTestable]:
        """System calls that this kernel does not have, whoever asks."""
        verbs = [ASKS[ask].verb for ask in ("int80_calls", "x32_calls", "newer_call")]
        done = self.agent.run(["probe", self.nonce, *verbs], program=self.host_probe,
                              **self.circumstances())
        told = [self.answers(done["stdout"]).get(verb, [{}])[0] for verb in verbs]
        missing: Dict[str, NotTestable] = {}
        if "getpid=ok" not in told[0].get("outcomes", []):
            missing["int80_calls"] = NotTestable("this kernel runs no 32-bit programs")
        if not told[1].get("outcomes"):
            missing["x32_calls"] = NotTestable("this machine has no x32")
        if told[2].get("errno") == "ENOSYS":
            missing["newer_call"] = NotInKernel("this kernel is older than Linux 6.5")
        return missing

    def is_shared(self, path: str) -> bool:
        """Whether a mount at `path` would propagate to the peers of the host's."""
        text = self.agent.read("/proc/self/mountinfo")["/proc/self/mountinfo"]["text"]
        lines = [line for line in text.splitlines()
                 if (path + "/").startswith(line.split()[4].rstrip("/") + "/")]
        return " shared:" in max(lines, key=lambda line: len(line.split()[4]))

    def seconds(self, seconds: float) -> float:
        """So much time on a usual machine, and more in a place where everything takes longer."""
        return seconds * self.agent.place.patience

    def snapshot(self) -> Json:
        watched = [f"{self.folder}/{name}" for name in ("home", "temporary", "cwd", "volume")]
        if self.agent.has_own_host:
            watched += ["/tmp", "/var/tmp"]
        snapshot = self.agent.ask("snapshot", folders=watched)
        # The container's root is the container's, and a cache is there to be filled.
        own = tuple(f"{self.folder}/{name}" for name in ("root/", "new", "home/.cache"))
        snapshot["files"] = [line for line in snapshot["files"] if not line.startswith(own)]
        # Other scenes have cgroups, too, see make_cgroup(); logins come and go.
        snapshot["cgroups"] = [line for line in snapshot["cgroups"]
                               if ("/box-" not in line or f"/box-{self.nonce}" in line)
                               and not re.search(r"/session-\w+\.scope (empty|in use)$", line)]
        return snapshot

    def clean_up(self) -> None:
        """Where the host is this machine itself, nothing of the harness' own may stay either."""
        self.agent.ask("finish_all")
        if self.cgroup:
            self.agent.run(["find", self.delegated, "-depth", "-type", "d", "-exec", "rmdir", "{}",
                            ";"], program=self.tools.busybox, time_limit=self.time_limit)
        if self.agent.has_own_host:
            return  # which ends with its agent
        if "errno" not in self.agent.stat(self.host_probe)[self.host_probe]:
            self.agent.run(["probe", self.nonce, f"remove_sysv={self.names['sysv_key']}",
                            f"remove_queue=/{self.nonce}"], program=self.host_probe)
        self.agent.ask("remove", paths=[self.folder])

    def leaks(self) -> List[str]:
        """What is on the host that was not there before, or is no more."""
        self.agent.ask("finish_all")
        if not self.before:
            return []
        lines = self.differences(self.snapshot())
        # Others on this machine make cgroups, too: theirs are filled, or go, within moments.
        patience = time.monotonic() + 2
        while any(line.startswith("cgroups") for line in lines) and time.monotonic() < patience:
            time.sleep(0.1)
            lines = self.differences(self.snapshot())
        return lines

    def differences(self, after: Json) -> List[str]:
        """What `after` has and `before` has not, and, where nobody else takes away, the reverse."""
        lines = []
        for kind, old in self.before.items():
            known = set(old)
            if kind == "cgroups":  # in use then, empty now: it was there
                known |= {line.replace(" in use", " empty") for line in old}
                after = {**after, kind: [line for line in after[kind] if line.endswith(" empty")]}
            lines += [f"{kind}: new: {line}" for line in after[kind] if line not in known]
            if kind not in ("processes", "cgroups"):  # which end with others' and the scene's own
                lines += [f"{kind}: gone: {line}" for line in old if line not in after[kind]]
        return lines

    # --- How the program is started -----------------------------------------------------------

    def options(self, *more: str) -> List[str]:
        words: List[str] = []
        if self.at_least("02") and "--rootfs" not in more:
            words += ["--rootfs", self.root]
        if self.at_least("04"):
            words += ["--hostname", self.names["hostname"]]
        return words + list(more)

    def words(self, command: Sequence[str], *options: str) -> List[str]:
        return [self.program, *self.options(*options), "--", *command]

    def probe(self, *verbs: str, words: Sequence[str] = ()) -> List[str]:
        path = f"{self.names['in']}/probe"
        return [path, self.nonce, *verbs] + (["--", *words] if words else [])

    def circumstances(self) -> Json:
        """Who starts the program, where, and with what around it."""
        given: Json = {
            "env": {"PATH": f"{self.folder}/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                    "HOME": f"{self.folder}/home", "TMPDIR": f"{self.folder}/temporary",
                    "TERM": "dumb", "HOST_SECRET": f"secret-{self.nonce}"},
            "cwd": f"{self.folder}/cwd",
            "umask": 0o022,
        }
        if self.cgroup:
            given["cgroup"] = self.cgroup
        if self.identity != ROOT and self.agent.is_root:
            given["user"] = {**self.owner, "groups": []}
        return given

    def run(self, command: Sequence[str], *options: str, **more: Any) -> Json:
        """Runs the program to its end."""
        return self.run_words(self.words(command, *options), **more)

    def note_options(self, words: Sequence[str]) -> None:
        """Keeps which of its options the program was given: not every tool has them all."""
        given = list(words[words.index(self.program) + 1:])
        given = given[:given.index("--")] if "--" in given else given
        for option, value in zip(given, [*given[1:], ""]):
            if option.startswith("-"):
                option = SHORT.get(option, option)
                self.used |= {option, f"{option} {value}"}

    def run_words(self, words: Sequence[str], **more: Any) -> Json:
        self.note_options(words)
        try:
            return self.agent.run(words, self.time_limit, **{**self.circumstances(), **more})
        except AgentError as error:
            return not_startable(error)

    def start(self, command: Sequence[str], *options: str, **more: Any) -> Json:
        return self.start_words(self.words(command, *options), close_stdin=False, **more)

    def start_words(self, words: Sequence[str], **more: Any) -> Json:
        self.note_options(words)
        try:
            return self.agent.start(words, 2 * self.time_limit, **{**self.circumstances(), **more})
        except AgentError as error:
            raise NotStarted(f"it cannot be executed: {error}") from error

    def expect(self, run: Json, text: str, time_limit: Optional[float] = None) -> Json:
        limit = self.time_limit if time_limit is None else time_limit
        return self.agent.expect(run["run"], text, limit)

    def answers(self, output: str) -> Dict[str, List[Json]]:
        """The probe's lines in `output`, by verb. Anything without the nonce is somebody else's."""
        found: Dict[str, List[Json]] = {}
        for line in output.splitlines():
            try:
                answer = json.loads(line[line.find("{"):])  # a terminal echoes "^C" before it
            except ValueError:
                continue
            if isinstance(answer, dict) and answer.get("nonce") == self.nonce:
                found.setdefault(str(answer.get("verb")), []).append(answer)
        return found

    def wait_for_hold(self, look: Look, run: Json, name: str) -> bool:
        """Whether the probe came to its "hold=1". If not, the run is over, and looked at."""
        seen = self.expect(run, '"verb":"hold=1","held":"waiting"')
        if not seen["found"]:
            self.tell_why_not_started(look, run, name)
        return seen["found"]

    def tell_why_not_started(self, look: Look, run: Json, name: str) -> None:
        """Ends a run in which the probe did not come as far as it should."""
        ended = self.agent.wait(run["run"], 0.0)["over"]
        self.end(look, run, name, 0.0)
        told = tell_run(look.runs[name])
        look.problem = (f"the container never ran the command: {told}" if ended else
                        f"the command did not run within {self.time_limit:g} s: {told}")

    def end(self, look: Look, run: Json, name: str, time_limit: Optional[float] = None) -> None:
        """Waits for the end of a run, keeps what came of it, and kills what is left."""
        limit = self.time_limit if time_limit is None else time_limit
        ended = self.agent.wait(run["run"], limit)
        if not ended["over"]:
            ended = self.agent.finish(run["run"])
        else:
            look.left += self.left_processes()
            self.agent.finish(run["run"])
        look.runs[name] = ended
        for verb, answers in self.answers(ended["stdout"]).items():
            look.answers.setdefault(verb, []).extend(answers)

    def left_processes(self, patience: float = 0.3) -> List[str]:
        """Whatever still runs though the program under test is over, but for the victim."""
        end = time.monotonic() + self.seconds(patience)
        while True:
            left = [f"process: new: {' '.join(process['argv']) or process['name']}"
                    for process in self.agent.processes()
                    if process["argv"][:1] != [self.names["victim"]] and process["state"] != "Z"]
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.01)

    # --- What the host sees of it -------------------------------------------------------------

    def wait_for_family(self, starter: int) -> Optional[int]:
        """The child of `starter`, once it has a child itself."""
        end = time.monotonic() + self.time_limit
        while time.monotonic() < end:
            processes = self.agent.processes()
            parents = {process["pid"]: process["ppid"] for process in processes
                       if process["state"] != "Z"}
            for process in processes:
                parent = parents.get(process["ppid"])
                if process["pid"] in parents and parent == starter:
                    return process["ppid"]
            time.sleep(0.005)
        return None

    def status_of(self, pid: Union[int, str]) -> Dict[str, str]:
        """/proc/PID/status, taken apart."""
        text = self.agent.read(f"/proc/{pid}/status")[f"/proc/{pid}/status"].get("text", "")
        fields = (line.partition(":") for line in text.splitlines())
        return {key: value.strip() for key, _, value in fields}

    def find_probe(self, run: Json) -> Json:
        """The process of the probe, by its nonce. What it has forked ends before it holds."""
        end = time.monotonic() + self.time_limit
        while True:
            found = [process for process in self.agent.processes()
                     if process["argv"][1:2] == [self.nonce] and process["state"] != "Z"
                     and os.path.basename(process["argv"][0]) == "probe"]
            if len(found) == 1:
                return found[0]
            if not found:
                now = self.agent.wait(run["run"], 0.0)
                if now["over"]:
                    raise NotStarted(f"it ended before its command did: {tell_run(now)}")
            if time.monotonic() > end:
                raise ProbeBroke(f"the probe is not one process of the host, but {len(found)}")
            time.sleep(0.005)

    def facts_of_probe(self, run: Json) -> Dict[str, Any]:
        """What the host sees of the probe while it holds."""
        facts = self.facts_of(self.find_probe(run)["pid"])
        self.find_probe(run)  # of a process that has ended, /proc tells nothing
        return facts

    def facts_of(self, pid: int) -> Dict[str, Any]:
        """What /proc on the host tells of a process, and of the host."""
        base = f"/proc/{pid}"
        kinds = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
        links = self.agent.readlink(
            *[f"/proc/{who}/ns/{kind}" for who in (pid, "self") for kind in kinds],
            f"{base}/root", f"{base}/cwd", f"{base}/exe")
        texts = self.agent.read(*[f"{base}/{name}" for name in (
            "uid_map", "gid_map", "setgroups", "mountinfo", "environ")],
            f"{base}/root/.marker")
        places = self.agent.stat(f"{base}/root", f"{base}/cwd", f"{base}/root/.", "/", self.root,
                                 f"{self.folder}/cwd")
        descriptors = self.agent.list(f"{base}/fd")[f"{base}/fd"]
        try:
            mounts = self.agent.ask("mounts_of", pid=pid)["text"]
        except AgentError:
            mounts = None
        return {
            "pid": pid,
            "namespaces": {kind: links[f"{base}/ns/{kind}"].get("text") for kind in kinds},
            "host_namespaces": {kind: links[f"/proc/self/ns/{kind}"].get("text")
                                for kind in kinds},
            "root": links[f"{base}/root"].get("text"),
            "cwd": links[f"{base}/cwd"].get("text"),
            "status": self.status_of(pid),
            "host_status": self.status_of("self"),
            "uid_map": texts[f"{base}/uid_map"].get("text", "").split(),
            "gid_map": texts[f"{base}/gid_map"].get("text", "").split(),
            "setgroups": texts[f"{base}/setgroups"].get("text", "").strip(),
            "mountinfo": texts[f"{base}/mountinfo"].get("text", ""),
            "environ": texts[f"{base}/environ"].get("text", "").split("\0"),
            "marker": texts[f"{base}/root/.marker"],
            "descriptors": descriptors.get("entries"),
            "all_mounts": mounts,
            "places": {name.replace(base, "PROBE"): place for name, place in places.items()},
        }


def not_startable(error: AgentError) -> Json:
    return {"why": "not started", "over": True, "exit": -1, "stdout": "", "stderr": str(error)}


Scene = Callable[[Stage], Look]
SCENES: Dict[str, Scene] = {}


def scene(function: Scene) -> Scene:
    SCENES[function.__name__] = function
    return function


def look_of(stage: Stage) -> Look:
    return Look(stage.identity, stage.names, stage.agent.place.ordinary)


# --- The scenes ---------------------------------------------------------------------------------


def start_victim(stage: Stage) -> Json:
    """A process of the host, with a name that nothing else has."""
    given = stage.circumstances()
    victim = stage.agent.start([stage.names["victim"], "-", "hold=victim"], 60.0,
                               program=stage.host_probe, close_stdin=False, **given)
    stage.agent.expect(victim["run"], "waiting", stage.seconds(2.0))
    return victim


def make_host_ipc(stage: Stage) -> None:
    """System V and POSIX queues of the host, which are then proved to be there."""
    verbs = [f"make_sysv={stage.names['sysv_key']}", f"make_queue=/{stage.nonce}",
             f"sysv={stage.names['sysv_key']}", f"queue=/{stage.nonce}"]
    done = stage.agent.run(["probe", stage.nonce, *verbs], program=stage.host_probe,
                           **stage.circumstances())
    answers = [json.loads(line) for line in done["stdout"].splitlines()]
    if len(answers) != 4 or not all(answer.get("ok") for answer in answers):
        raise ProbeBroke(f"the host's own IPC cannot be made: {tell_run(done)}")


def start_servers(stage: Stage) -> Json:
    """On the host: at its loopback, and at an abstract socket. They are proved to answer."""
    text = f"served-{stage.nonce}"
    port = stage.names["port"]
    verbs = [f"serve=127.0.0.1,{port},{text}", f"serve_abstract=box-{stage.nonce},{text}",
             f"connect=127.0.0.1,{port}", f"connect_abstract=box-{stage.nonce}", "hold=servers"]
    run = stage.agent.start([stage.names["victim"], "-", *verbs], 60.0,
                            program=stage.host_probe, close_stdin=False, **stage.circumstances())
    seen = stage.agent.expect(run["run"], "waiting", stage.seconds(2.0))
    if seen["stdout"].count(f'"text":"{text}"') != 2:
        raise ProbeBroke(f"the host's servers do not answer: {tell_run(seen)}")
    return run


@scene
def inside(stage: Stage) -> Look:
    """Most of the rows: a container that does what it is asked for, is looked at, and goes on."""
    look = look_of(stage)
    victim = start_victim(stage)
    stage.names["victim_pid"] = str(victim["pid"])
    make_host_ipc(stage)
    start_servers(stage)
    look.missing = stage.missing()
    look.facts["host"] = stage.agent.read("/proc/keys", "/proc/timer_list", "/proc/interrupts")
    look.facts["host_firmware"] = stage.agent.list("/sys/firmware")["/sys/firmware"]
    if stage.agent.has_own_host:
        # A mount that only the host shall have, and what people do as long as no stage does it.
        stage.busybox("mount", "-t", "tmpfs", f"mark-{stage.nonce}", f"{stage.folder}/mark")
        if not stage.at_least("06"):
            stage.busybox("mount", "--bind", "/sys", f"{stage.root}/sys")
    stage.watch()
    files = [{"fd": 7, "path": stage.names["secret"]}, {"fd": 8, "path": "/"}]
    wanted = [(ask, ask.verb.format_map(stage.names)) for key, ask in ASKS.items()
              if key in stage.asks | {"hello"}]
    early = [verb for ask, verb in wanted if not ask.late]
    late = [verb for ask, verb in wanted if ask.late]
    command = stage.probe(*early, "hold=1", *late, "hold=2", "exit=37",
                          words=WORDS)
    run = stage.start(command, "-e", f"GIVEN=given-{stage.nonce}", files=files)
    if not stage.wait_for_hold(look, run, "inside"):
        return look
    look.facts.update(stage.facts_of_probe(run))
    look.facts["parent_status"] = stage.status_of(run["pid"])
    # Through its own root: from stage 08a on the directory of --rootfs does not have it.
    look.facts["made"] = stage.agent.stat(
        f"/proc/{look.facts['pid']}/root{stage.names['in']}/tmp/made-{stage.nonce}")
    name = "/proc/sys/kernel/hostname"
    look.facts["hostname_during"] = stage.agent.read(name)[name].get("text", "").strip()
    look.facts["hostname"] = look.facts["hostname_before"] = stage.agent.about["hostname"]
    if stage.agent.has_own_host:
        change_host(stage)
        look.facts["hostname_before"] = stage.names["host_hostname"]
        look.facts["hostname"] = stage.names["host_hostname"] + "-new"
    stage.agent.write(run["run"], f"line-{stage.nonce}\n")
    seen = stage.expect(run, '"verb":"hold=2","held":"waiting"')
    look.facts["after"] = look_at_host(stage)
    killed = stage.answers(seen["stdout"]).get(f"kill={victim['pid']},9", [{}])[0].get("ok")
    patience = stage.seconds(1.0) if killed else 0.0
    look.facts["victim_lives"] = not stage.agent.wait(victim["run"], patience)["over"]
    stage.agent.write(run["run"], "\n", close=True)
    stage.end(look, run, "inside")
    undo_on_host(stage)
    return look


def change_host(stage: Stage) -> None:
    """What must not reach the container: the host gets another name, and a mount."""
    stage.busybox("hostname", stage.names["host_hostname"] + "-new")
    stage.busybox("mount", "-t", "tmpfs", stage.nonce, f"{stage.root}/mnt/host")
    stage.agent.make([{"path": f"{stage.root}/mnt/host/seen", "text": f"mount-{stage.nonce}"}])


def look_at_host(stage: Stage) -> Json:
    """What the container must not have reached."""
    host = stage.agent.ask("snapshot")
    return {
        "hostname": host["hostname"][0],
        "sysv": any(line.split()[1] == stage.names["own_sysv_key"] for line in host["sysvipc"]),
        "queue": f"/dev/mqueue/own-{stage.nonce}" in host["posixipc"],
        "mounts": [line for line in host["mounts"] if f" {stage.root}/mnt/own " in line],
        "theirs": stage.agent.stat(f"{stage.root}/theirs").get(f"{stage.root}/theirs"),
        "node": stage.agent.stat(f"{stage.root}/tmp/node").get(f"{stage.root}/tmp/node"),
    }


def undo_on_host(stage: Stage) -> None:
    """Removes what the scene itself did to the host, so that what then remains is a leak."""
    # The probe's own queues are on the host only where there is no IPC namespace.
    stage.agent.run(["probe", stage.nonce, f"remove_sysv={stage.names['own_sysv_key']}",
                     f"remove_queue=/own-{stage.nonce}"], program=stage.host_probe)
    if not stage.agent.has_own_host:
        return
    stage.busybox("hostname", stage.names["host_hostname"])
    for kind in ("host", "own"):
        point = f"{stage.root}/mnt/{kind}"
        if any(f" {point} " in line for line in stage.agent.ask("snapshot")["mounts"]):
            stage.busybox("umount", "-l", point)
    if any(f" {stage.root}/tmp/proc " in line for line in stage.agent.ask("snapshot")["mounts"]):
        stage.busybox("umount", "-l", f"{stage.root}/tmp/proc")


@scene
def without_container(stage: Stage) -> Look:
    """A control: the probe, started by the same caller, in no container at all."""
    look = look_of(stage)
    stage.watch()
    run = stage.agent.start(["probe", stage.nonce, "hello", "hold=1"], program=stage.host_probe,
                            close_stdin=False, **stage.circumstances())
    if stage.wait_for_hold(look, run, "probe"):
        look.facts.update(stage.facts_of_probe(run))
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "probe")
    return look


@scene
def statuses(stage: Stage) -> Look:
    """What the program's exit status tells when the command's does not."""
    look = look_of(stage)
    inside = stage.names["in"]
    stage.watch()
    look.runs["no command"] = stage.run([f"{inside}/no-such-command"])
    look.runs["not executable"] = stage.run([f"{inside}/not-executable"])
    words = [stage.program, "--no-such-option", *stage.options(), "--",
             *stage.probe("hello", "exit=37")]
    look.runs["wrong option"] = stage.run_words(words)
    look.answers = stage.answers(look.runs["wrong option"]["stdout"])
    look.left += stage.left_processes()
    return look


@scene
def killed(stage: Stage) -> Look:
    """The command is killed from outside."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"))
    if stage.wait_for_hold(look, run, "killed"):
        stage.agent.signal("KILL", pid=stage.find_probe(run)["pid"])
        stage.end(look, run, "killed")
    return look


@scene
def sigchld_ignored(stage: Stage) -> Look:
    """The caller ignores SIGCHLD: the kernel would then throw the command's status away."""
    look = look_of(stage)
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "exit=37"), ignore=["CHLD"])
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


@scene
def workdir(stage: Stage) -> Look:
    look = look_of(stage)
    directory = "/tmp" if stage.at_least("02") else f"{stage.root}/tmp"
    stage.names["workdir"] = directory
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("cwd"), "-w", directory)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


@scene
def workdir_link(stage: Stage) -> Look:
    """--workdir names a link in the root, which leads to a folder of the host."""
    look = look_of(stage)
    outside = f"{stage.folder}/outside"
    stage.agent.make([{"kind": "link", "path": f"{stage.root}/escape", "text": outside}])
    stage.watch()
    directory = "/escape" if stage.at_least("02") else f"{stage.root}/escape"
    look.runs["run"] = stage.run(stage.probe("hello", "cwd", f"write=made-{stage.nonce}"),
                                 "-w", directory)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    look.facts["outside"] = stage.agent.list(outside)[outside].get("entries")
    stage.agent.ask("remove", paths=[f"{outside}/made-{stage.nonce}"])
    return look


FORWARDED = ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2")


@scene
def signals(stage: Stage) -> Look:
    """Each signal that stops or tells something, sent to the program under test."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "trap=10", "exit=37"))
    ready = stage.expect(run, '"trap":"ready"')
    if not ready["found"]:
        stage.tell_why_not_started(look, run, "signals")
        return look
    for name in FORWARDED:
        try:
            stage.agent.signal(name, run=run["run"])
        except AgentError:
            break  # it has died of the one before
    for name in FORWARDED:
        number = getattr(signal_numbers, f"SIG{name}")
        if not stage.expect(run, f'"signal":{number}}}', stage.seconds(0.4))["found"]:
            break
    stage.agent.write(run["run"], "x", close=True)
    stage.end(look, run, "signals", stage.seconds(0.5))
    return look


@scene
def terminal(stage: Stage) -> Look:
    """In a terminal: Ctrl-C, and a command that leaves the terminal in a bad state."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "trap=10", "spoil_terminal", "exit=37"),
                      terminal={"rows": 33, "columns": 77})
    ready = stage.expect(run, '"trap":"ready"')
    if not ready["found"]:
        stage.tell_why_not_started(look, run, "terminal")
        return look
    # Stopped, the program cannot forward it before the command has its own: of two that wait for
    # the same process, the kernel delivers one.
    stage.agent.signal("STOP", run=run["run"])
    stage.agent.write(run["run"], "\x03")
    stage.expect(run, '"verb":"signal"', stage.seconds(0.3))
    try:
        stage.agent.signal("CONT", run=run["run"])
    except AgentError:
        pass  # it has died of it
    time.sleep(stage.seconds(0.05))  # a second one, if there is, comes at once
    stage.agent.write(run["run"], "\n")
    ended = stage.agent.wait(run["run"], stage.time_limit)
    if ended["over"]:
        look.facts["terminal"] = stage.agent.ask("terminal", run=run["run"])
    stage.end(look, run, "terminal", 0.0)
    return look


@scene
def anybody(stage: Stage) -> Look:
    """Simply started, by whoever it is: with root or without."""
    look = look_of(stage)
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "exit=37"))
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


@scene
def default_hostname(stage: Stage) -> Look:
    """Started without --hostname."""
    look = look_of(stage)
    stage.watch()
    look.facts["hostname"] = (stage.names["host_hostname"] if stage.agent.has_own_host
                              else stage.agent.about["hostname"])
    root = ["--rootfs", stage.root] if stage.at_least("02") else []
    look.runs["run"] = stage.run_words(
        [stage.program, *root, "--", *stage.probe("hello", "hostname")])
    look.answers = stage.answers(look.runs["run"]["stdout"])
    if not look.answers:
        look.problem = f"the container never ran the command: {tell_run(look.runs['run'])}"
    return look


@scene
def parent_killed(stage: Stage) -> Look:
    """The program under test is killed with SIGKILL while the command runs."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"))
    if stage.wait_for_hold(look, run, "run"):
        stage.find_probe(run)
        stage.agent.signal("KILL", run=run["run"])
        stage.end(look, run, "run")
        look.facts["left"] = look.left
        look.left = []
        start_again(stage)
    return look


def start_again(stage: Stage) -> None:
    """What the kernel does not tie to a process, a killed parent leaves: until the next start."""
    stage.run(stage.probe("hello"))


@scene
def parent_killed_early(stage: Stage) -> Look:
    """The same, before the command runs: strace holds the child before it asks to die with us."""
    look = look_of(stage)
    need_strace(stage)
    stage.watch()
    command = stage.probe("hello", "hold=1")
    words = stage.words(command)
    run = stage.start_words(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=prctl", "-e",
                             f"inject=prctl:delay_enter={int(stage.seconds(300000))}:when=1",
                             *words],
                            program="/usr/bin/strace", close_stdin=False)
    parent = stage.wait_for_family(run["pid"])
    if parent is None:
        stage.end(look, run, "run", 0.0)
        look.problem = f"it never had a child: {tell_run(look.runs['run'])}"
        return look
    time.sleep(stage.seconds(0.1))
    stage.agent.signal("KILL", pid=parent)
    end = time.monotonic() + stage.time_limit
    seen = 0
    while time.monotonic() < end:
        # What is a child of strace's is what has survived; strace itself stays as long.
        left = [process for process in stage.agent.processes()
                if process["pid"] not in (run["pid"], parent) and process["state"] != "Z"]
        # Seen once, it may be about to die: on a busy machine our kill is late.
        seen += any(process["argv"][:1] == command[:1] for process in left)
        if not left or seen == 5:
            break  # it has ended, or the command has started all the same
        time.sleep(0.01)
    look.facts["left"] = [f"{' '.join(process['argv'])}" for process in left]
    stage.end(look, run, "run", 0.0)
    look.left = []
    start_again(stage)
    return look


@scene
def daemon(stage: Stage) -> Look:
    """The command leaves a process that ignores all signals and belongs to no session."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("daemon=30", "hello", "exit=37"))
    stage.end(look, run, "run")
    look.facts["left"] = look.left
    if look.runs["run"]["why"] != "ended":
        look.facts["left"] = [f"the program itself: {tell_run({**look.runs['run'], 'stdout': ''})}"]
    look.left = []
    return look


def zombies_that_stay(stage: Stage) -> List[str]:
    """Who has ended is a zombie for a moment, until somebody waits for him."""
    end = time.monotonic() + stage.seconds(0.3)
    while True:
        zombies = [process["name"] for process in stage.agent.processes()
                   if process["state"] == "Z" and process["ppid"] != stage.agent.about["pid"]]
        if not zombies or time.monotonic() > end:
            return zombies
        time.sleep(0.02)


def orphan_in(stage: Stage, *options: str) -> Look:
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "orphan=1", "stat=/proc/1/exe", "hold=1", "exit=37"),
                      *options)
    if stage.wait_for_hold(look, run, "run"):
        time.sleep(stage.seconds(0.05))  # the orphan ends
        look.facts.update(stage.facts_of_probe(run))
        look.facts["parents"] = stage.status_of(look.facts["status"]["PPid"])
        look.facts["zombies"] = zombies_that_stay(stage)
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


@scene
def with_init(stage: Stage) -> Look:
    """An orphan ends, with --init."""
    return orphan_in(stage, "--init")


@scene
def without_init(stage: Stage) -> Look:
    """An orphan ends, and PID 1 is the probe, which does not reap."""
    return orphan_in(stage)


def terminated_in(stage: Stage, *options: str) -> Look:
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"), *options)
    if stage.wait_for_hold(look, run, "run"):
        stage.agent.signal("TERM", run=run["run"])
        stage.end(look, run, "run", stage.seconds(0.4))
        look.left = []
    return look


@scene
def terminated_with_init(stage: Stage) -> Look:
    """A command without handlers is asked to end, with --init."""
    return terminated_in(stage, "--init")


@scene
def terminated_without_init(stage: Stage) -> Look:
    """The same without: for PID 1 the kernel discards what it has no handler for."""
    return terminated_in(stage)


@scene
def other_user(stage: Stage) -> Look:
    """Root maps ranges of ids, and lets another one run the command."""
    look = look_of(stage)
    options = (["--uid-map", "0:100000:10", "--gid-map", "0:200000:10", "-u", "5:6"]
               if stage.at_least("05") else [])
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"), *options)
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


def volumes_in(stage: Stage, mode: str) -> Look:
    look = look_of(stage)
    volume = f"{stage.folder}/volume"
    if stage.agent.has_own_host:
        stage.agent.make([{"kind": "device", "path": f"{volume}/device", "major": 1, "minor": 5,
                           "mode": 0o666, **stage.owner}])
    options = (["-v", f"{volume}:/data", "-v", f"{volume}:/fixed{mode}",
                "-v", f"{volume}/file:/etc/single"] if stage.at_least("06") else [])
    stage.watch()
    run = stage.start(stage.probe(
        "hello", "read=/data/file", "read=/etc/single", f"write=/data/new-{stage.nonce}",
        f"write=/fixed/no-{stage.nonce}", "read=/data/device", "hold=1"), *options)
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        new, fixed = f"{volume}/new-{stage.nonce}", f"{volume}/no-{stage.nonce}"
        places = stage.agent.stat(new, fixed)
        look.facts["new"], look.facts["fixed"] = places[new], places[fixed]
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
        stage.agent.ask("remove", paths=[new, fixed])  # which the probe wrote, as it was told
    return look


@scene
def volumes(stage: Stage) -> Look:
    """Files of the host, shown in the container: one place may be written, one may not."""
    return volumes_in(stage, ":ro")


@scene
def volumes_writable(stage: Stage) -> Look:
    """The same, but both places may be written."""
    return volumes_in(stage, "")


@scene
def read_only(stage: Stage) -> Look:
    """--read-only"""
    look = look_of(stage)
    stage.watch()
    look.runs["run"] = stage.run(stage.probe(ASKS["root_write"].verb.format_map(stage.names)),
                                 "--read-only")
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


@scene
def hostile_volume(stage: Stage) -> Look:
    """A root in which a folder is a link to the host's, and a volume that goes there."""
    look = look_of(stage)
    outside = f"{stage.folder}/outside"
    stage.agent.make([{"kind": "link", "path": f"{stage.root}/escape", "text": outside}])
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"), "-v",
                      f"{stage.folder}/volume:/escape/made-{stage.nonce}")
    look.facts["held"] = stage.expect(run, '"held":"waiting"')["found"]
    look.facts["outside"] = stage.agent.list(outside)[outside].get("entries")
    stage.agent.write(run["run"], "\n", close=True)
    stage.end(look, run, "run")
    return look


@scene
def hostile_proc(stage: Stage) -> Look:
    """A root in which /proc is a link to a folder of the host."""
    look = look_of(stage)
    outside = f"{stage.folder}/outside"
    stage.agent.ask("remove", paths=[f"{stage.root}/proc"])
    stage.agent.make([{"kind": "link", "path": f"{stage.root}/proc", "text": outside}])
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"))
    look.facts["held"] = stage.expect(run, '"held":"waiting"')["found"]
    if look.facts["held"]:
        look.facts.update(stage.facts_of_probe(run))
    stage.agent.write(run["run"], "\n", close=True)
    stage.end(look, run, "run")
    return look


def need_strace(stage: Stage) -> None:
    if "errno" in stage.agent.stat("/usr/bin/strace")["/usr/bin/strace"]:
        raise NotTestable("it needs strace: apt-get install strace")


def failing(stage: Stage, calls: str, *asks: str) -> Look:
    """The kernel refuses `calls`: does the container start all the same?"""
    look = look_of(stage)
    need_strace(stage)
    verbs = [ASKS[ask].verb.format_map(stage.names) for ask in asks]
    # At the same path in the root and on the host: the command is found wherever it then runs.
    stage.agent.make([{"kind": "directory", "path": stage.root + stage.folder, "mode": 0o755,
                       **stage.owner}])
    stage.busybox("cp", stage.host_probe, stage.root + stage.host_probe)
    words = stage.words([stage.host_probe, stage.nonce, "hello", *verbs, "hold=1", "exit=37"])
    stage.watch()
    run = stage.start_words(
        ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", "-e",
         f"inject={calls}:error=EPERM", *words], program="/usr/bin/strace", close_stdin=False)
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


@scene
def chroot_fails(stage: Stage) -> Look:
    return failing(stage, "chroot,pivot_root", "secret")


@scene
def namespaces_fail(stage: Stage) -> Look:
    return failing(stage, "clone3,unshare")


@scene
def pivot_root_fails(stage: Stage) -> Look:
    return failing(stage, "pivot_root", "by_setns")


@scene
def seccomp_fails(stage: Stage) -> Look:
    return failing(stage, "seccomp")


def held_with(stage: Stage, verbs: Sequence[str], *options: str) -> Look:
    """Started with `options`, and looked at while the probe holds, after `verbs`."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", *verbs, "hold=1"), *options)
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


@scene
def capabilities_dropped(stage: Stage) -> Look:
    return held_with(stage, [], "--cap-drop", "ALL")


@scene
def capability_added(stage: Stage) -> Look:
    return held_with(stage, [], "--cap-add", "SYS_TIME")


@scene
def strict_profile(stage: Stage) -> Look:
    """A shell, and what a strict profile has no room for."""
    look = held_with(stage, [ASKS["sysv"].verb.format_map(stage.names)], "--seccomp", "strict")
    script = "text=$(echo one | /bin/busybox sed s/one/two/); [ $text = two ] && exit 37"
    look.runs["sh"] = stage.run(["/bin/sh", "-c", script], "--seccomp", "strict")
    return look


# What builds a container, and what the probe does not do.
BUILDING = ("capset", "prctl", "seccomp", "setresuid", "setresgid", "setuid", "setgid",
            "setgroups", "chdir", "fchdir", "chroot", "close_range", "mount", "umount2",
            "pivot_root", "move_mount", "open_tree", "mount_setattr", "unshare", "setns")


@scene
def profile_in_a_file(stage: Stage) -> Look:
    """A profile that kills whoever goes on building the container, and has an errno of its own."""
    look = look_of(stage)
    path = f"{stage.folder}/profile.json"
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": list(BUILDING), "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOTCONN}]}
    stage.agent.make([{"path": path, "text": json.dumps(profile), "mode": 0o644, **stage.owner}])
    stage.watch()
    verb = ASKS["set_hostname"].verb.format_map(stage.names)
    look.runs["run"] = stage.run(stage.probe("hello", verb, "exit=37"), "-w", "/tmp",
                                 "--seccomp", path)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    if not look.answers:
        look.problem = f"the container never ran the command: {tell_run(look.runs['run'])}"
    return look


@scene
def set_user_id(stage: Stage) -> Look:
    """An ordinary user of the container starts a set-user-ID program of its root."""
    stage.agent.make([{"path": f"{stage.root}/become-root", "copy_from": stage.tools.probe,
                       "uid": 100000, "gid": 200000, "mode": 0o4755}])
    return held_with(stage, ["run=/become-root,effective_user"], "--uid-map", "0:100000:10",
                     "--gid-map", "0:200000:10", "-u", "5:6")


@scene
def userspace(stage: Stage) -> Look:
    """A root of the host's programs; before stage 03, one that was copied by hand, as people do."""
    look = look_of(stage)
    new, folder = f"{stage.folder}/new", f"{stage.folder}/with"
    text = f"file-{stage.nonce}"
    stage.agent.make([{"kind": "directory", "path": folder, "mode": 0o755, **stage.owner},
                      {"path": f"{folder}/file", "text": text, "mode": 0o644, **stage.owner},
                      {"kind": "link", "path": f"{folder}/link", "text": stage.names["secret"]}])
    loaded = stage.agent.run(["ls"], program="/bin/ls", env={"LD_TRACE_LOADED_OBJECTS": "1"})
    look.facts["libraries"] = [line.split()[0] for line in loaded["stdout"].splitlines()]
    options = ["--rootfs", new]
    if stage.at_least("03"):
        options += ["--userspace", "minimal", "--with", stage.host_probe, "--with", folder]
    else:
        for path in (new, f"{new}/bin", f"{new}/tmp", new + stage.folder, new + folder):
            stage.agent.make([{"kind": "directory", "path": path, "mode": 0o755, **stage.owner}])
        stage.busybox("cp", "/bin/ls", f"{new}/bin/ls")
        stage.busybox("cp", stage.host_probe, new + stage.host_probe)
        stage.busybox("cp", "-L", f"{folder}/link", f"{new}{folder}/link")
        stage.busybox("ln", f"{folder}/file", f"{new}{folder}/file")
    stage.watch()
    probe = [stage.host_probe, stage.nonce, "hello", f"write={folder}/file"]
    look.runs["run"] = stage.run(probe, *options)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    look.runs["ls"] = stage.run(["/bin/ls", "/"], *options)
    look.runs["sh"] = stage.run(["sh", "-c", "exit 37"], *options)
    look.facts["link"] = stage.agent.stat(f"{new}{folder}/link", follow=False)
    look.facts["host_file"] = stage.agent.read(f"{folder}/file")[f"{folder}/file"].get("text")
    look.facts["host_file_was"] = text
    return look


@scene
def userspace_link(stage: Stage) -> Look:
    """Copied are a folder with a link in it, and a file whose path leads over that link."""
    look = look_of(stage)
    new, folder, outside = f"{stage.folder}/new", f"{stage.folder}/with", f"{stage.folder}/outside"
    kept, text = f"{outside}/kept", f"kept-{stage.nonce}"
    stage.agent.make([{"kind": "directory", "path": folder, "mode": 0o755, **stage.owner},
                      {"kind": "link", "path": f"{folder}/way", "text": outside},
                      {"path": kept, "text": text, "mode": 0o644, **stage.owner}])
    before = stage.agent.stat(kept)[kept]
    look.runs["run"] = stage.run(
        [stage.host_probe, stage.nonce, "hello", f"read={folder}/way/kept"], "--rootfs", new,
        "--userspace", "minimal", "--with", stage.host_probe, "--with", folder,
        "--with", f"{folder}/way/kept")
    look.answers = stage.answers(look.runs["run"]["stdout"])
    after = stage.agent.stat(kept)[kept]
    look.facts["same_file"] = before.get("ino") == after.get("ino")
    look.facts["outside"] = stage.agent.list(outside)[outside].get("entries")
    look.facts["text"] = text
    return look


# --- Stage 07: limits. All but the last need cgroup v2 on the host. ---


def need_cgroup(stage: Stage) -> None:
    if not stage.cgroup:
        raise NotTestable("it needs root, and cgroup v2 with the controllers cpu, memory and pids")


def limits_of(stage: Stage, *options: str) -> Sequence[str]:
    """Before stage 07 there are no such options."""
    return options if stage.at_least("07") else ()


def cgroups_of(stage: Stage, pids: Sequence[int]) -> Dict[int, str]:
    """In which cgroup of the host these processes are."""
    texts = stage.agent.read(*[f"/proc/{pid}/cgroup" for pid in pids])
    found = {}
    for pid in pids:
        for line in texts[f"/proc/{pid}/cgroup"].get("text", "").splitlines():
            if line.startswith("0::"):
                found[pid] = stage.names["cgroups"] + line[3:]
    return found


def grandchildren(stage: Stage) -> List[int]:
    """What the probe has left with "burn" and "fork_bomb"."""
    return [process["pid"] for process in stage.agent.processes() if process["state"] != "Z"
            and process["argv"][1:2] == [stage.nonce] and process["argv"][0].endswith("child")]


@scene
def limits(stage: Stage) -> Look:
    """A cgroup with limits, which root inside tries to raise and to leave."""
    look = look_of(stage)
    need_cgroup(stage)
    look.facts["session"] = stage.cgroup
    stage.watch()
    run = stage.start(
        stage.probe("hello", "sleep_ms=1000",  # who is moved late is moved by then
                    "read=/proc/self/cgroup", "list={cgroups}".format(**stage.names),
                    "write_to={cgroups}/memory.max,max".format(**stage.names),
                    "write_to_new_cgroup2=/tmp/new,memory.max,max", "hold=1",
                    "leave_cgroup={cgroups},{other}".format(**stage.names), "hold=2"),
        *limits_of(stage, "--cpus", "0.5", "--memory", "64m", "--pids-limit", "32"))
    if not stage.wait_for_hold(look, run, "run"):
        return look
    pid = stage.find_probe(run)["pid"]
    cgroup = cgroups_of(stage, [pid]).get(pid, "")
    files = ("memory.max", "memory.swap.max")
    texts = stage.agent.read(*[f"{cgroup}/{name}" for name in files])
    look.facts["cgroup"] = cgroup
    look.facts["limits"] = {name: texts[f"{cgroup}/{name}"].get("text", "").strip()
                            for name in files}
    stage.agent.write(run["run"], "\n")
    stage.expect(run, '"verb":"hold=2","held":"waiting"')
    look.facts["cgroup_at_the_end"] = cgroups_of(stage, [pid]).get(pid, "")
    stage.agent.write(run["run"], "\n", close=True)
    stage.end(look, run, "run")
    look.facts["cgroup_after"] = stage.agent.stat(cgroup)[cgroup]
    return look


@scene
def limits_parent_killed(stage: Stage) -> Look:
    """The program is killed with SIGKILL, and started again."""
    look = look_of(stage)
    need_cgroup(stage)
    options = limits_of(stage, "--memory", "64m")
    stage.watch()
    run = stage.start(stage.probe("hello", "sleep_ms=1000", "hold=1"), *options)
    if stage.wait_for_hold(look, run, "run"):
        pid = stage.find_probe(run)["pid"]
        cgroup = cgroups_of(stage, [pid]).get(pid, "")
        stage.agent.signal("KILL", run=run["run"])
        stage.end(look, run, "run")
        look.left = []
        look.runs["again"] = stage.run(stage.probe("hello"), *options)
        look.facts["cgroup"] = cgroup
        look.facts["cgroup_after"] = stage.agent.stat(cgroup)[cgroup]
    return look


@scene
def memory_limit(stage: Stage) -> Look:
    """A child of PID 1 wants three times the memory that there is."""
    look = look_of(stage)
    need_cgroup(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "eat=96", "exit=37"),
                      *limits_of(stage, "--memory", "32m"))
    stage.end(look, run, "run")
    return look


@scene
def pids_limit(stage: Stage) -> Look:
    """A fork bomb, which ends by itself at 100 processes."""
    look = look_of(stage)
    need_cgroup(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "fork_bomb=100", "hold=1"),
                      *limits_of(stage, "--pids-limit", "32"))
    if stage.wait_for_hold(look, run, "run"):
        counts = [0, len(grandchildren(stage))]
        end = time.monotonic() + stage.time_limit
        while counts[-1] != counts[-2] and time.monotonic() < end:  # until they grow no more
            time.sleep(0.3)
            counts.append(len(grandchildren(stage)))
        look.facts["processes"] = counts[-1]
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
        look.facts["left"] = look.left
        look.left = []
    return look


CPU_SECONDS = 3.0


def cpu_shares(stage: Stage, *shares: str) -> Look:
    """Containers with so many CPUs, at the same time. In each, two grandchildren want a CPU."""
    look = look_of(stage)
    need_cgroup(stage)
    look.facts["session"] = stage.cgroup
    look.facts["cpus"] = len([line for line in stage.agent.read("/proc/stat")["/proc/stat"]["text"]
                              .splitlines() if line.startswith("cpu")]) - 1
    stage.watch()
    runs = []
    namespaces: Dict[str, str] = {}  # PID namespace -> share
    for share in shares:
        runs.append(stage.start(stage.probe("hello", "burn=2", "hold=1"),
                                *limits_of(stage, "--cpus", share)))
        if not stage.wait_for_hold(look, runs[-1], share):
            return look
        for namespace in pid_namespaces(stage).values():
            namespaces.setdefault(namespace, share)
    share_of = {pid: namespaces[namespace] for pid, namespace in pid_namespaces(stage).items()}
    cgroups = look.facts["cgroups"] = sorted(set(cgroups_of(stage, list(share_of)).values()))
    time.sleep(0.3)
    # A machine that is short of CPU time itself gives them less; one whose timers are late gives
    # them now less, now more. Then once more: but not if they have all there is, without a limit,
    # or if each period of a limit that is much too small ended in waiting for the next.
    end = time.monotonic() + stage.time_limit
    while True:
        before = periods_of(stage, cgroups)
        used = measure_cpus(stage, share_of)
        periods = periods_of(stage, cgroups) - before
        look.facts["used"] = used
        as_limited = all(is_share(used[share], share) for share in shares)
        all_used = sum(used.values()) > 0.9 * look.facts["cpus"]
        much_too_small = any(used[share] < 0.75 * float(share) for share in shares)
        all_throttled = periods["nr_throttled"] > 0.9 * periods["nr_periods"]
        if (as_limited or all_used or much_too_small and all_throttled
                or time.monotonic() > end):
            break
    for run in runs:
        stage.agent.write(run["run"], "\n", close=True)
    for run in runs:  # as long as one runs, its processes would be left ones of the other's
        stage.agent.wait(run["run"], stage.time_limit)
    for run, share in zip(runs, shares):
        stage.end(look, run, share)
    return look


def is_share(used: float, share: str) -> bool:
    """Whether so many CPUs are what --cpus says, within a tenth."""
    return abs(used - float(share)) <= float(share) / 10


def measure_cpus(stage: Stage, shares: Dict[int, str]) -> Dict[str, float]:
    """How many CPUs the processes of each share use together."""
    before = cpu_times(stage, list(shares))
    time.sleep(CPU_SECONDS)
    after = cpu_times(stage, list(shares))
    used: Dict[str, float] = {}
    for pid, share in shares.items():
        seconds = (after[pid] - before[pid]) / (after[0] - before[0])
        used[share] = used.get(share, 0.0) + seconds
    return used


def periods_of(stage: Stage, cgroups: Sequence[str]) -> Counter[str]:
    """The periods of --cpus that these cgroups were through, and in which all of it was used."""
    counts: Counter[str] = Counter()
    for text in stage.agent.read(*[f"{cgroup}/cpu.stat" for cgroup in cgroups]).values():
        for line in text.get("text", "").splitlines():
            name, count = line.split()
            counts[name] += int(count)
    return counts


def pid_namespaces(stage: Stage) -> Dict[int, str]:
    pids = grandchildren(stage)
    links = stage.agent.readlink(*[f"/proc/{pid}/ns/pid" for pid in pids])
    return {pid: links[f"/proc/{pid}/ns/pid"]["text"] for pid in pids}


def cpu_times(stage: Stage, pids: Sequence[int]) -> Dict[int, float]:
    """The seconds for which each of them has run, and, as that of 0, the host's since its boot."""
    for _ in range(20):
        # The files are read in order: was the reader interrupted, the times do not belong together.
        texts = stage.agent.read("/proc/uptime", *[f"/proc/{pid}/stat" for pid in pids],
                                 "/proc/./uptime")
        start, end = (float(texts[path]["text"].split()[0])
                      for path in ("/proc/uptime", "/proc/./uptime"))
        if end - start <= 0.05:
            break
    seconds = {0: start}
    for pid in pids:
        fields = texts[f"/proc/{pid}/stat"]["text"].rpartition(")")[2].split()
        seconds[pid] = (int(fields[11]) + int(fields[12])) / 100  # USER_HZ
    return seconds


@scene
def cpu_half(stage: Stage) -> Look:
    return cpu_shares(stage, "0.5")


@scene
def cpu_small_and_large(stage: Stage) -> Look:
    return cpu_shares(stage, "0.2", "1.5")


# They measure time, and so are looked at when nothing else runs.
ALONE = {"cpu_half", "cpu_small_and_large"}


@scene
def limit_fails(stage: Stage) -> Look:
    """A limit is asked for where nobody can make a cgroup."""
    look = look_of(stage)
    if not stage.agent.has_own_host:
        raise NotTestable("needs root on the host: the cgroups must become read-only")
    for line in stage.agent.ask("snapshot")["mounts"]:
        if " - cgroup2 " in line:
            stage.busybox("mount", "-o", "remount,bind,ro", line.split()[2])
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello"), *limits_of(stage, "--memory", "64m"),
                                 cgroup="")
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


# --- Layers ---------------------------------------------------------------------------------------

# What the probe does to a folder of the root, and so what is there before.
CHANGES = {
    "written": "write=/lower/written", "removed": "remove=/lower/removed",
    "renamed": "rename=/lower/renamed,/lower/new", "closed": "close=/lower/closed",
    "folder/file": "replace_folder=/lower/folder,/lower/folder/file",
}


def make_lower(stage: Stage) -> None:
    entries: List[Json] = [{"kind": "directory", "path": f"{stage.root}/{name}", "mode": 0o755}
                           for name in ("lower", "lower/folder")]
    entries += [{"path": f"{stage.root}/lower/{name}", "text": f"{name}-{stage.nonce}\n" + "x" * 40,
                 "mode": 0o644} for name in CHANGES]
    stage.agent.make([{**entry, **stage.owner} for entry in entries])


def look_at_lower(stage: Stage) -> Json:
    """What the host has in that folder: texts, modes, owners."""
    paths = [f"{stage.root}/lower/{name}" for name in [*CHANGES, "new", "folder"]]
    texts, places = stage.agent.read(*paths), stage.agent.stat(*paths)
    return {path: [texts[path].get("text"), *(places[path].get(key) for key in (
        "errno", "mode", "uid", "gid", "ino"))] for path in paths}


def changes_with(stage: Stage, *options: str) -> Look:
    look = look_of(stage)
    make_lower(stage)
    look.facts["before"] = look_at_lower(stage)
    stage.watch()
    look.runs["run"] = stage.run(stage.probe(
        "hello", *CHANGES.values(), "read=/lower/written", "read=/lower/new", "list=/lower",
        "list=/lower/folder"), *options)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    look.facts["after"] = look_at_lower(stage)
    return look


@scene
def changes(stage: Stage) -> Look:
    """The probe writes, removes, renames and closes files of the root."""
    return changes_with(stage)


@scene
def changes_refused(stage: Stage) -> Look:
    """The same, but the root is read-only."""
    return changes_with(stage, "--read-only")


def twice(stage: Stage, *options: str) -> Look:
    """One container writes a file, and the next one looks for it."""
    look = look_of(stage)
    stage.watch()
    look.runs["first"] = stage.run(stage.probe("hello", f"write=/left-{stage.nonce}"), *options)
    look.facts["first"] = stage.answers(look.runs["first"]["stdout"])
    look.runs["second"] = stage.run(stage.probe("hello", f"read=/left-{stage.nonce}"), *options)
    look.facts["second"] = stage.answers(look.runs["second"]["stdout"])
    return look


@scene
def one_after_the_other(stage: Stage) -> Look:
    return twice(stage)


# Names that begin with "new" are not watched: what is to be there is no leak.
def keep(stage: Stage) -> List[str]:
    path = f"{stage.folder}/new-kept"
    stage.agent.make([{"kind": "directory", "path": path, "mode": 0o755, **stage.owner}])
    return ["--keep", path]


@scene
def one_after_the_other_kept(stage: Stage) -> Look:
    """The same, with --keep."""
    return twice(stage, *keep(stage))


def at_once(stage: Stage, *options: str) -> Look:
    """While one container runs, which has written a file, a second one looks for it."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", f"write=/left-{stage.nonce}", "hold=1"), *options)
    if stage.wait_for_hold(look, run, "first"):
        look.runs["second"] = stage.run(stage.probe("hello", f"read=/left-{stage.nonce}"), *options)
        look.facts["second"] = stage.answers(look.runs["second"]["stdout"])
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "first")
        look.facts["first"] = look.answers
    return look


@scene
def two_at_once(stage: Stage) -> Look:
    return at_once(stage)


@scene
def two_at_once_kept(stage: Stage) -> Look:
    """Both with the same --keep."""
    return at_once(stage, *keep(stage))


def layers_in(stage: Stage, *names: str) -> Look:
    look = look_of(stage)
    for name in ("low", "high"):
        path = f"{stage.folder}/new-{name}"
        stage.agent.make([{"kind": "directory", "path": path, "mode": 0o755, **stage.owner},
                          {"path": f"{path}/common", "text": f"{name}-{stage.nonce}",
                           "mode": 0o644, **stage.owner}])
    stage.watch()
    options = [word for name in names for word in ("--layer", f"{stage.folder}/new-{name}")]
    look.runs["run"] = stage.run(stage.probe("hello", "read=/common"), *options)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


@scene
def layers(stage: Stage) -> Look:
    """Two layers with a file of the same name."""
    return layers_in(stage, "low", "high")


@scene
def layers_swapped(stage: Stage) -> Look:
    return layers_in(stage, "high", "low")


def with_tar(stage: Stage, content: bytes) -> List[str]:
    """The options that lay a tar file upon the root. Its bytes have to be ASCII."""
    path = f"{stage.folder}/new-layer.tar"
    stage.agent.make([{"path": path, "text": content.decode("ascii"), "mode": 0o644,
                       **stage.owner}])
    return ["--layer", path]


def whiteouts_in(stage: Stage, *entries: oci.Entry) -> Look:
    look = look_of(stage)
    make_lower(stage)
    options = with_tar(stage, oci.tar(oci.entry("lower/added"), *entries))
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "list=/lower", "list=/lower/folder"),
                                 *options)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


@scene
def whiteouts(stage: Stage) -> Look:
    """A layer that hides a file, and what is in a folder."""
    return whiteouts_in(stage, oci.entry("lower/.wh.removed"),
                        oci.entry("lower/folder/.wh..wh..opq"), oci.entry("lower/folder/new"))


@scene
def no_whiteouts(stage: Stage) -> Look:
    """A layer that hides nothing."""
    return whiteouts_in(stage, oci.entry("lower/folder/new"))


@scene
def hostile_layer(stage: Stage) -> Look:
    """A layer that wants to write in a folder of the host: over a link."""
    look = look_of(stage)
    outside = f"{stage.folder}/outside"
    options = with_tar(stage, oci.tar(oci.link("escape", outside),
                                      oci.entry("escape/made", b"by the layer")))
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello"), *options)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    look.facts["outside"] = stage.agent.list(outside)[outside].get("entries")
    stage.agent.ask("remove", paths=[f"{outside}/made"])
    return look


def image_in(stage: Stage, *words: str, tampered: bool = False) -> Look:
    """An OCI image layout of the root directory, whose command is the probe."""
    look = look_of(stage)
    image = f"{stage.folder}/new-image"
    blobs = f"{image}/blobs/sha256"
    stage.agent.make([{"kind": "directory", "path": path, "mode": 0o755, **stage.owner}
                      for path in (image, f"{image}/blobs", blobs)])
    layer = f"{image}/layer"
    stage.busybox("tar", "-C", stage.root, "-cf", layer, ".")
    digest = stage.busybox("sha256sum", layer)["stdout"].split()[0]
    size = stage.agent.stat(layer)[layer]["size"]
    if tampered:  # of the same size, and a tar as before
        stage.agent.make([{"path": f"{stage.root}/.marker", "text": stage.nonce[::-1],
                           "mode": 0o644, **stage.owner}])
        stage.busybox("tar", "-C", stage.root, "-cf", layer, ".")
    stage.busybox("mv", layer, f"{blobs}/{digest}")
    config = {"Entrypoint": ["/probe", stage.nonce], "Cmd": ["hello", "cwd", "hold=1"],
              "WorkingDir": "/tmp", "Env": [f"OF_THE_IMAGE=image-{stage.nonce}"]}
    described = {"mediaType": oci.LAYER, "digest": f"sha256:{digest}", "size": size}
    stage.agent.make([{"path": f"{image}/{name}", "text": content.decode(), "mode": 0o644,
                       **stage.owner} for name, content in oci.layout([described], config).items()])
    stage.busybox("chmod", "-R", "a+rX", image)
    stage.watch()
    run = stage.start_words([stage.program, "--image", image, *words], close_stdin=False)
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


@scene
def image(stage: Stage) -> Look:
    """An image, which says itself what it runs."""
    return image_in(stage)


@scene
def image_overruled(stage: Stage) -> Look:
    """The same, but the command line says something else."""
    return image_in(stage, "-w", "/", "-e", "OF_THE_IMAGE=other", "--", "hello", "cwd", "hold=1")


@scene
def tampered_image(stage: Stage) -> Look:
    """A layer of it was changed."""
    return image_in(stage, tampered=True)


def need_bridge(stage: Stage) -> None:
    if "errno" in stage.agent.stat("/usr/sbin/nft")["/usr/sbin/nft"]:
        raise NotTestable("it needs nft: apt-get install nftables")


def published_in(stage: Stage, *options: str) -> Look:
    """A server in the container, and who asks it on the host; a packet forged in the container."""
    look = look_of(stage)
    need_bridge(stage)
    port, text = stage.names["port"], f"served-{stage.nonce}"
    stage.watch()
    catcher = stage.agent.start(["catcher", stage.nonce, f"catch={port},1500"], 10.0,
                                program=stage.host_probe, **stage.circumstances())
    stage.agent.expect(catcher["run"], '"catch":"ready"', stage.seconds(2.0))
    run = stage.start(stage.probe("hello", f"serve=0.0.0.0,80,{text}", f"forge={port}", "hold=1"),
                      *options)
    if stage.wait_for_hold(look, run, "run"):
        asked = stage.agent.run(["probe", stage.nonce, f"connect=127.0.0.1,{port}"],
                                program=stage.host_probe, **stage.circumstances())
        look.facts["asked"] = stage.answers(asked["stdout"])[f"connect=127.0.0.1,{port}"][0]
        look.facts["text"] = text
        caught = stage.agent.wait(catcher["run"], stage.seconds(2.0))
        look.facts["caught"] = stage.answers(caught["stdout"])[f"catch={port},1500"][-1]["caught"]
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    stage.agent.finish(catcher["run"])
    return look


@scene
def published(stage: Stage) -> Look:
    """A port of the container, published."""
    return published_in(stage, "--network", "bridge", "--publish", f"{stage.names['port']}:80")


@scene
def not_published(stage: Stage) -> Look:
    """The same, but not published."""
    return published_in(stage, "--network", "bridge")


def two_containers_in(stage: Stage, network: str) -> Look:
    """The first to start asks the second one by its name."""
    look = look_of(stage)
    need_bridge(stage)
    text, ask = f"served-{stage.nonce}", f"connect_by_name=later-{stage.nonce},80"
    stage.watch()
    first = stage.start(stage.probe("hello", "hold=1", ask), "--network", network)
    if not stage.wait_for_hold(look, first, "first"):
        return look
    second = stage.start_words([
        stage.program, "--rootfs", stage.root, "--network", network, "--hostname",
        f"later-{stage.nonce}", "--", *stage.probe(f"serve=0.0.0.0,80,{text}", "hold=2")],
        close_stdin=False)
    if not stage.expect(second, '"verb":"hold=2","held":"waiting"')["found"]:
        stage.tell_why_not_started(look, second, "second")
        return look
    stage.agent.write(first["run"], "\n", close=True)
    stage.agent.wait(first["run"], stage.seconds(2.0))
    stage.agent.write(second["run"], "\n", close=True)
    stage.agent.wait(second["run"], stage.seconds(2.0))
    stage.end(look, first, "first")
    stage.end(look, second, "second")
    look.facts["asked"] = look.answers[ask][0]
    look.facts["text"] = text
    return look


@scene
def two_containers(stage: Stage) -> Look:
    """Two containers at the bridge."""
    return two_containers_in(stage, "bridge")


@scene
def two_apart(stage: Stage) -> Look:
    """Two containers without a network."""
    return two_containers_in(stage, "none")


@scene
def by_pasta(stage: Stage) -> Look:
    """By pasta, whose gateway would be the host's loopback."""
    look = look_of(stage)
    places = stage.agent.stat("/usr/bin/pasta", "/dev/net/tun")
    if any("errno" in place for place in places.values()) or not stage.agent.has_own_host:
        raise NotTestable("it needs root, /dev/net/tun and pasta: apt-get install passt")
    stage.busybox("ip", "link", "add", "up0", "type", "bridge")  # the host's way out, to nowhere
    stage.busybox("ip", "address", "add", "198.51.100.1/24", "dev", "up0")
    stage.busybox("ip", "link", "set", "up0", "up")
    stage.busybox("ip", "route", "add", "default", "via", "198.51.100.2")
    start_servers(stage)
    stage.watch()
    ask = f"connect=198.51.100.2,{stage.names['port']}"
    look.runs["run"] = stage.run(stage.probe("hello", ask), "--network", "pasta")
    look.answers = stage.answers(look.runs["run"]["stdout"])
    if "hello" not in look.answers:
        raise NotStarted(tell_run(look.runs["run"]))
    look.facts["asked"] = look.answers[ask][0]
    look.facts["text"] = f"served-{stage.nonce}"
    return look
