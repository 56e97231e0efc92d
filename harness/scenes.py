"""Scenes: what is set up on the host, how the container is started, and what is then looked at.

A scene is one start of the program under test, or a few that belong together. It knows nothing but
the command line that all stages share. It returns a Look, of which the rows of properties.py read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
from typing import Any, Callable, Dict, FrozenSet, List, Optional, Sequence, Tuple

from harness.agent_client import Agent, AgentError, Json
from harness.model import ROOT, NotStarted, NotTestable, ProbeBroke, stage_number

STRANGER = 54321  # an id of the host that is nobody's in any container
ORDINARY = 12345  # who starts containers without being root
PROC_MAGIC, TMPFS_MAGIC, SYSFS_MAGIC, DEVPTS_MAGIC = 0x9FA0, 0x01021994, 0x62656572, 0x1CD1


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
    "sys": Ask("stat=/sys"),
    "sysctl": Ask("open_to_write=/proc/sys/kernel/core_pattern"),
    "by_chroot": Ask("escape_by_chroot={secret},{in}/tmp/a"),
    "by_descriptor": Ask("escape_by_descriptor={secret},{in}/tmp/b"),
    # After the host was looked at, and has changed its name and mounted something.
    "hostname_again": Ask("hostname", late=True),
    "host_mount": Ask("read={in}/mnt/host/seen", late=True),
    "kill": Ask("kill={victim_pid},9", late=True),
    "make_sysv": Ask("make_sysv={own_sysv_key}", late=True),
    "make_queue": Ask("make_queue=/own-{nonce}", late=True),
    "mount": Ask("mount={in}/mnt/own", late=True),
    "set_hostname": Ask("set_hostname=inside-{nonce}", late=True),
}


@dataclasses.dataclass
class Look:
    """What was seen. Facts come from the host, answers from the probe."""

    identity: str
    names: Dict[str, str]
    answers: Dict[str, List[Json]] = dataclasses.field(default_factory=dict)
    facts: Dict[str, Any] = dataclasses.field(default_factory=dict)
    runs: Dict[str, Json] = dataclasses.field(default_factory=dict)
    problem: str = ""  # why the program never ran the command
    leaks: List[str] = dataclasses.field(default_factory=list)

    @property
    def uid(self) -> int:
        return 0 if self.identity == ROOT else ORDINARY

    def answer(self, ask: str) -> Json:
        """What the probe answered to a key of ASKS."""
        if self.problem:
            raise NotStarted(self.problem)
        given = self.answers.get(ASKS[ask].verb.format_map(self.names), [])
        index = 1 if ask == "hostname_again" else 0  # the one verb that is asked for twice
        if len(given) <= index or "died" in given[index] or "unknown" in given[index]:
            raise ProbeBroke(f"no answer to {ask}; answered: {self.answers}; {self.tell_runs()}")
        return given[index]

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
    names: Dict[str, str] = dataclasses.field(default_factory=dict)
    before: Json = dataclasses.field(default_factory=dict)

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
    def owner(self) -> Json:
        if not self.agent.is_root:
            return {}
        uid = 0 if self.identity == ROOT else ORDINARY
        return {"uid": uid, "gid": uid}

    # --- What is on the host ------------------------------------------------------------------

    def make_host(self) -> None:
        """A small root file system with the probe in it, a secret, a home."""
        def entry(path: str, kind: str = "file", **more: Any) -> Json:
            return {"kind": kind, "path": f"{self.folder}/{path}" if path else self.folder,
                    **self.owner, **more}

        folders = [entry("", "directory", mode=0o755)]
        folders += [entry(name, "directory", mode=0o755) for name in (
            "root", "home", "temporary", "cwd", "volume", "bin", "root/bin", "root/dev",
            "root/etc", "root/mnt", "root/mnt/host", "root/mnt/own", "root/proc", "root/root",
            "root/run", "root/sbin", "root/sys", "root/usr", "root/usr/bin")]
        folders.append(entry("root/tmp", "directory", mode=0o1777))
        files = [
            entry("secret", text=f"secret-{self.nonce}", mode=0o644),
            entry("volume/file", text=f"volume-{self.nonce}", mode=0o644),
            entry("cwd/file", text="", mode=0o644),
            entry("root/.marker", text=self.nonce, mode=0o644),
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
                entry("root/etc/planted", "device", major=1, minor=5, mode=0o666),
                entry("root/dev/planted", "device", major=1, minor=5, mode=0o666),
            ]
        self.agent.make(folders + files)
        if self.agent.has_own_host:
            self.busybox("hostname", self.names["host_hostname"])
            if self.identity != ROOT:
                self.show_program_to_user()

    def show_program_to_user(self) -> None:
        """An ordinary user need not be able to walk to where the program was built."""
        directory, name = os.path.split(self.program)
        self.busybox("mount", "--bind", directory, f"{self.folder}/bin")
        self.program = f"{self.folder}/bin/{name}"

    def busybox(self, *words: str) -> Json:
        """Runs an applet on the host, as root if the agent is."""
        done = self.agent.run(["busybox", *words], program=self.tools.busybox)
        if done.get("exit") != 0:
            raise ProbeBroke(f"busybox {' '.join(words)}: {tell_run(done)}")
        return done

    def watch(self) -> None:
        """From here on, what changes on the host is the program's doing."""
        self.before = self.snapshot()

    def snapshot(self) -> Json:
        watched = [f"{self.folder}/{name}" for name in ("home", "temporary", "cwd", "volume")]
        if self.agent.has_own_host:
            watched += ["/tmp", "/var/tmp"]
        snapshot = self.agent.ask("snapshot", folders=watched)
        own = f"{self.root}/"  # the container's root may change, it is the container's
        snapshot["files"] = [line for line in snapshot["files"] if not line.startswith(own)]
        return snapshot

    def leaks(self) -> List[str]:
        """What is on the host that was not there before, or is no more."""
        self.agent.ask("finish_all")
        if not self.before:
            return []
        after = self.snapshot()
        lines = []
        for kind, old in self.before.items():
            lines += [f"{kind}: new: {line}" for line in after[kind] if line not in old]
            if kind not in ("processes", "cgroups"):  # which end with others' and the scene's own
                lines += [f"{kind}: gone: {line}" for line in old if line not in after[kind]]
        return lines

    # --- How the program is started -----------------------------------------------------------

    def options(self, *more: str) -> List[str]:
        words: List[str] = []
        if self.at_least("02"):
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
        if self.identity != ROOT and self.agent.is_root:
            given["user"] = {"uid": ORDINARY, "gid": ORDINARY, "groups": []}
        return given

    def run(self, command: Sequence[str], *options: str, **more: Any) -> Json:
        """Runs the program to its end."""
        given = {**self.circumstances(), **more}
        try:
            return self.agent.run(self.words(command, *options), self.time_limit, **given)
        except AgentError as error:
            return not_startable(error)

    def start(self, command: Sequence[str], *options: str, **more: Any) -> Json:
        given = {"close_stdin": False, **self.circumstances(), **more}
        try:
            return self.agent.start(self.words(command, *options), 2 * self.time_limit, **given)
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
                answer = json.loads(line)
            except ValueError:
                continue
            if isinstance(answer, dict) and answer.get("nonce") == self.nonce:
                found.setdefault(str(answer.get("verb")), []).append(answer)
        return found

    # --- What the host sees of it -------------------------------------------------------------

    def find_probe(self) -> Json:
        """The first process of the probe, by its nonce and its file."""
        matching = [process for process in self.agent.processes()
                    if process["argv"][1:2] == [self.nonce] and process["state"] != "Z"
                    and os.path.basename(process["argv"][0]) == "probe"]
        pids = {process["pid"] for process in matching}
        first = [process for process in matching if process["ppid"] not in pids]
        if len(first) != 1:
            raise ProbeBroke(f"the probe is not one process of the host, but {len(first)}")
        return first[0]

    def facts_of(self, pid: int, starter: int) -> Dict[str, Any]:
        """What /proc on the host tells of a process, and of the one that started it."""
        base = f"/proc/{pid}"
        kinds = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
        links = self.agent.readlink(
            *[f"/proc/{who}/ns/{kind}" for who in (pid, starter, "self") for kind in kinds],
            f"{base}/root", f"{base}/cwd", f"{base}/exe")
        texts = self.agent.read(*[f"{base}/{name}" for name in (
            "status", "uid_map", "gid_map", "setgroups", "mountinfo", "environ")],
            f"{base}/root/.marker")
        status = dict(line.split(":", 1) for line in
                      texts[f"{base}/status"].get("text", "").splitlines() if ":" in line)
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
            "status": {key: value.strip() for key, value in status.items()},
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
    return Look(stage.identity, stage.names)


# --- The scenes ---------------------------------------------------------------------------------


def start_victim(stage: Stage) -> Json:
    """A process of the host, with a name that nothing else has."""
    given = stage.circumstances()
    victim = stage.agent.start([stage.names["victim"], "-", "hold=victim"], 60.0,
                               program=stage.tools.probe, close_stdin=False, **given)
    stage.agent.expect(victim["run"], "waiting", 2.0)
    return victim


def make_host_ipc(stage: Stage) -> None:
    """System V and POSIX queues of the host, which are then proved to be there."""
    verbs = [f"make_sysv={stage.names['sysv_key']}", f"make_queue=/{stage.nonce}",
             f"sysv={stage.names['sysv_key']}", f"queue=/{stage.nonce}"]
    done = stage.agent.run(["probe", stage.nonce, *verbs], program=stage.tools.probe,
                           **stage.circumstances())
    answers = [json.loads(line) for line in done["stdout"].splitlines()]
    if len(answers) != 4 or not all(answer.get("ok") for answer in answers):
        raise ProbeBroke(f"the host's own IPC cannot be made: {tell_run(done)}")


def why_not_started(stage: Stage, run: Json) -> str:
    return f"the container never ran the command: {tell_run(run)}"


@scene
def inside(stage: Stage) -> Look:
    """Most of the rows: a container that does what it is asked for, is looked at, and goes on."""
    look = look_of(stage)
    victim = start_victim(stage)
    stage.names["victim_pid"] = str(victim["pid"])
    make_host_ipc(stage)
    stage.watch()
    files = [{"fd": 7, "path": stage.names["secret"]}, {"fd": 8, "path": "/"}]
    early = [ask.verb.format_map(stage.names) for key, ask in ASKS.items()
             if key in stage.asks and not ask.late]
    late = [ask.verb.format_map(stage.names) for key, ask in ASKS.items()
            if key in stage.asks and ask.late]
    command = stage.probe("hello", *early, "hold=1", *late, "hold=2", "exit=37",
                          words=["two words", "", "$HOME", "quote\"'", "*", "new\nline"])
    run = stage.start(command, files=files)
    seen = stage.expect(run, '"held":"waiting"')
    if not seen["found"]:
        look.runs["inside"] = stage.agent.finish(run["run"])
        look.answers = stage.answers(look.runs["inside"]["stdout"])
        look.problem = why_not_started(stage, look.runs["inside"])
        return look
    probe = stage.find_probe()
    look.facts = stage.facts_of(probe["pid"], run["pid"])
    look.facts["made"] = stage.agent.stat(f"{stage.root}/tmp/made-{stage.nonce}")
    if stage.agent.has_own_host:
        change_host(stage)
    stage.agent.write(run["run"], f"line-{stage.nonce}\n")
    seen = stage.expect(run, '"verb":"hold=2","held":"waiting"')
    look.facts["after"] = look_at_host(stage, probe["pid"], victim)
    stage.agent.write(run["run"], "\n", close=True)
    look.runs["inside"] = stage.agent.wait(run["run"], stage.time_limit)
    stage.agent.finish(run["run"])
    look.answers = stage.answers(look.runs["inside"]["stdout"])
    undo_on_host(stage)
    return look


def change_host(stage: Stage) -> None:
    """What must not reach the container: the host gets another name, and a mount."""
    stage.busybox("hostname", stage.names["host_hostname"] + "-new")
    stage.busybox("mount", "-t", "tmpfs", stage.nonce, f"{stage.root}/mnt/host")
    stage.agent.make([{"path": f"{stage.root}/mnt/host/seen", "text": f"mount-{stage.nonce}"}])


def look_at_host(stage: Stage, probe: int, victim: Json) -> Json:
    """What the container must not have reached."""
    host = stage.agent.ask("snapshot")
    return {
        "hostname": host["hostname"][0],
        "sysv": any(line.split()[1] == stage.names["own_sysv_key"] for line in host["sysvipc"]),
        "queue": f"/dev/mqueue/own-{stage.nonce}" in host["posixipc"],
        "mounts": [line for line in host["mounts"] if f" {stage.root}/mnt/own " in line],
        "container_mounts": stage.agent.read(f"/proc/{probe}/mountinfo")[
            f"/proc/{probe}/mountinfo"].get("text", ""),
        "victim_lives": stage.agent.wait(victim["run"], 0.0)["over"] is False,
        "theirs": stage.agent.stat(f"{stage.root}/theirs").get(f"{stage.root}/theirs"),
        "node": stage.agent.stat(f"{stage.root}/tmp/node").get(f"{stage.root}/tmp/node"),
    }


def undo_on_host(stage: Stage) -> None:
    """Removes what the scene itself did to the host, so that what then remains is a leak."""
    if not stage.agent.has_own_host:
        return
    stage.busybox("hostname", stage.names["host_hostname"])
    points = [line.split()[2] for line in stage.agent.ask("snapshot")["mounts"]]
    for point in reversed(points):
        if point.startswith(stage.root + "/"):
            stage.busybox("umount", "-l", point)
    # Only where there is no IPC namespace are these on the host.
    stage.agent.run(["probe", stage.nonce, f"remove_sysv={stage.names['own_sysv_key']}"],
                    program=stage.tools.probe)
    stage.agent.ask("remove", paths=[f"/dev/mqueue/own-{stage.nonce}"])
