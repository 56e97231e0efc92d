"""How a program under test is started, and what the host sees of it."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import secrets
import shlex
import time
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence, Set, Union

from harness.agent_client import Agent, AgentError, Json
from harness.properties.look import Ask, Look, tell_run
from harness.properties.verdict import ROOT, NotStarted, ProbeBroke, stage_number

STRANGER = 2054321000  # an id of the host that is not mapped in any container

SHELLS = ("sh", "dash", "bash", "busybox", "ksh", "zsh")
SIGTERM = 1 << 14  # as /proc/PID/status has it
# What a probe waits in: read(2) in "hold", poll(2) in "trap".
WAITING = {"x86_64": ("0", "7", "271"), "aarch64": ("63", "73")}

# What the scenes call by its short name.
SHORT = {"-e": "--env", "-u": "--user", "-v": "--volume", "-w": "--workdir"}


@dataclasses.dataclass(frozen=True)
class Tools:
    """Where the harness's own programs are, for the agent."""

    agent: str
    probe: str
    busybox: str


@dataclasses.dataclass
class Stage:
    """A program under test, started by a user on an agent's host."""

    agent: Agent
    tools: Tools
    program: str
    stage: str
    identity: str
    table: Mapping[str, Ask]  # everything that the probe can be asked
    asks: FrozenSet[str]  # what of that the rows need
    time_limit: float = 5.0
    folder: str = ""
    cgroup: str = ""  # that of the caller, where there is cgroup v2
    delegated: str = ""  # the one above it
    names: Dict[str, str] = dataclasses.field(default_factory=dict)
    before: Json = dataclasses.field(default_factory=dict)
    tried: str = ""  # the last start, to paste
    used: Set[str] = dataclasses.field(default_factory=set)  # options, and those with their values
    helpers: Set[int] = dataclasses.field(default_factory=set)  # the numbers of ours
    witnessed: bool = False  # see Look
    claimed: bool = False

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
    def longest(self) -> float:
        """Longer than all that a scene waits for: that its time is over would be no verdict."""
        return 5 * self.time_limit

    @property
    def root(self) -> str:
        return f"{self.folder}/root"

    @property
    def host_probe(self) -> str:
        """The probe, in a place where every user of the host can start it."""
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
            "root", "home", "temporary", "cwd", "outside", "mark", "bin", "root/bin",
            "root/dev",
            "root/etc", "root/mnt", "root/mnt/host", "root/mnt/own", "root/proc", "root/root",
            "root/run", "root/sbin", "root/sys", "root/usr", "root/usr/bin")]
        folders.append(entry("root/tmp", "directory", mode=0o1777))
        # Also for a container whose root is another user on the host.
        folders.append(entry("volume", "directory", mode=0o777))
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
        """A session of the caller, and another cgroup beside it, in one that is delegated to the
        caller, see cgroups(7); as systemd does it. Without the controllers there is none."""
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
        """An ordinary user may have no access to the directory in which the program was built, so
        everything below the last directory that they cannot enter is made visible in another
        place."""
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
        """Runs an applet on the host, as root if the agent is root."""
        done = self.agent.run(["busybox", *words], program=self.tools.busybox)
        if done.get("exit") != 0:
            raise ProbeBroke(f"busybox {' '.join(words)}: {tell_run(done)}")
        return done

    def watch(self) -> None:
        """From here on, the program is responsible for changes on the host."""
        self.before = self.snapshot()

    def seconds(self, seconds: float) -> float:
        """This much time on a usual machine, and more in a place where everything takes longer."""
        return seconds * self.agent.place.patience

    def snapshot(self) -> Json:
        watched = [f"{self.folder}/{name}" for name in ("home", "temporary", "cwd", "volume")]
        if self.agent.has_own_host:
            watched += ["/tmp", "/var/tmp"]
        written = self.agent.about.get("written", {})  # what the host has there is not listed
        snapshot = self.agent.ask("snapshot", folders=watched + list(written.values()))
        for folder, shown_at in written.items():
            snapshot["files"] = [line.replace(shown_at, folder, 1) if line.startswith(shown_at)
                                 else line for line in snapshot["files"]]
        # The container's root may change, and a cache is there to be filled.
        own = tuple(f"{self.folder}/{name}" for name in ("root/", "new", "home/.cache"))
        snapshot["files"] = [line for line in snapshot["files"] if not line.startswith(own)]
        # Other scenes have cgroups, too, see make_cgroup(); logins come and go.
        snapshot["cgroups"] = [line for line in snapshot["cgroups"]
                               if ("/box-" not in line or f"/box-{self.nonce}" in line)
                               and not re.search(r"/session-\w+\.scope (empty|in use)$", line)]
        return snapshot

    def clean_up(self) -> None:
        """If the host is this machine itself, nothing of the harness's own may remain either."""
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
        """What is new on the host, or has disappeared."""
        self.agent.ask("finish_all")
        if not self.before:
            return []
        lines = self.differences(self.snapshot())
        # Other processes on this machine make cgroups, too: theirs are filled, or removed, within
        # moments. And a program may clean up in the background, so that its caller need not wait.
        patience = time.monotonic() + 2
        while lines and time.monotonic() < patience:
            time.sleep(0.1)
            lines = self.differences(self.snapshot())
        return lines

    def differences(self, after: Json) -> List[str]:
        """What `after` has and `before` has not, and, where no other process removes anything, the
        reverse."""
        lines = []
        for kind, old in self.before.items():
            known = set(old)
            if kind == "cgroups":  # in use then, empty now: it was there
                known |= {line.replace(" in use", " empty") for line in old}
                after = {**after, kind: [line for line in after[kind] if line.endswith(" empty")]}
            lines += [f"{kind}: new: {line}" for line in after[kind] if line not in known]
            if kind not in ("processes", "cgroups"):  # these end with their processes
                lines += [f"{kind}: gone: {line}" for line in old if line not in after[kind]]
        return lines

    # --- How the program is started -----------------------------------------------------------

    def options(self, *more: str) -> List[str]:
        words: List[str] = []
        if self.at_least("02") and "--rootfs" not in more:
            words += ["--rootfs", self.root]
        return words + list(more)

    def words(self, command: Sequence[str], *options: str) -> List[str]:
        return [self.program, *self.options(*options), "--", *command]

    def probe(self, *verbs: str, words: Sequence[str] = ()) -> List[str]:
        path = f"{self.names['in']}/probe"
        return [path, self.nonce, *verbs] + (["--", *words] if words else [])

    def verb(self, ask: str) -> str:
        """What the probe is told to do: a key of the table, filled in."""
        return self.table[ask].verb.format_map(self.names)

    def circumstances(self) -> Json:
        """The user who starts the program, the directory, and the environment."""
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
        self.tried = self.to_paste(words)
        given = given[:given.index("--")] if "--" in given else given
        for option, value in zip(given, [*given[1:], ""]):
            if option.startswith("-"):
                option = SHORT.get(option, option)
                self.used |= {option, f"{option} {value}"}

    def to_paste(self, words: Sequence[str]) -> str:
        """The same start, but of a command that everybody has, and with a root of theirs."""
        start = words.index(self.program)
        end = words.index("--") if "--" in words[start:] else len(words)
        told = shlex.join(words[start:end]).replace(self.root, "$ROOT")
        return f"{told} -- /bin/sh -c 'exit 37'; echo $?" if end < len(words) else told

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
            return self.agent.start(words, self.longest, **{**self.circumstances(), **more})
        except AgentError as error:
            raise NotStarted(f"it cannot be executed: {error}") from error

    def start_helper(self, words: Sequence[str], **how: Any) -> Json:
        """A process of the host's, which may still run when the program under test has ended."""
        helper = self.agent.start(words, 60.0, close_stdin=False, **how)
        self.helpers.add(helper["pid"])
        return helper

    def expect(self, run: Json, text: str, time_limit: Optional[float] = None) -> Json:
        limit = self.time_limit if time_limit is None else time_limit
        return self.agent.expect(run["run"], text, limit)

    def expect_wait(self, run: Json, text: str) -> Json:
        """Waits until the probe writes that it waits. A program may hold back its command's output
        until the command ends: then /proc shows what the probe does."""
        end = time.monotonic() + self.time_limit
        seen = self.expect(run, text, min(self.time_limit, self.seconds(0.5)))
        while not seen["found"] and not seen["over"] and time.monotonic() < end:
            if self.probe_waits():
                return {**seen, "found": True, "silent": True}
            seen = self.expect(run, text, self.seconds(0.2))
        return seen

    def probe_waits(self) -> bool:
        """Whether there is exactly one process of the probe, which waits for its standard input."""
        found = self.processes_of_probe()
        if len(found) != 1:
            return False
        path = f"/proc/{found[0]['pid']}/syscall"
        call = self.agent.read(path)[path].get("text", "").split()
        return call[:1] != [] and call[0] in WAITING.get(self.agent.about["machine"], ())

    def processes_of_probe(self) -> List[Json]:
        found = [process for process in self.agent.processes()
                 if process["argv"][1:2] == [self.nonce] and process["state"] != "Z"
                 and os.path.basename(process["argv"][0]) == "probe"]
        self.witnessed |= any(os.path.basename(process["exe"]).startswith("probe")
                              for process in found)
        return found

    def answers(self, output: str) -> Dict[str, List[Json]]:
        """The probe's lines in `output`, by verb. A line without the nonce comes from another
        process."""
        found: Dict[str, List[Json]] = {}
        for line in output.splitlines():
            if self.nonce not in line:
                continue
            try:
                answer = json.loads(line[line.find("{"):])  # a terminal echoes "^C" before it
            except ValueError:
                continue
            if isinstance(answer, dict) and answer.get("nonce") == self.nonce:
                found.setdefault(str(answer.get("verb")), []).append(answer)
        return found

    def wait_for_hold(self, look: Look, run: Json, name: str) -> bool:
        """Whether the probe came to its "hold=1". If not, the run is over, and looked at."""
        seen = self.expect_wait(run, '"verb":"hold=1","held":"waiting"')
        if not seen["found"]:
            self.tell_why_not_started(look, run, name)
        elif not self.sees_probe():
            ended = self.agent.wait(run["run"], 0.0)["over"]
            self.end(look, run, name, 0.0)
            look.problem = (("it ended before its command did: " if ended else
                             "the host does not see the command that is said to wait: ")
                            + tell_run(look.runs[name]))
        self.claimed |= look.problem != "" and bool(self.answers(look.runs[name]["stdout"]))
        return not look.problem

    def sees_probe(self) -> bool:
        end = time.monotonic() + self.seconds(0.5)
        while not self.processes_of_probe():
            if time.monotonic() > end:
                return False
            time.sleep(0.01)
        return True

    def tell_why_not_started(self, look: Look, run: Json, name: str) -> None:
        """Ends a run in which the probe did not get as far as it should."""
        ended = self.agent.wait(run["run"], 0.0)["over"]
        self.end(look, run, name, 0.0)
        told = tell_run(look.runs[name])
        look.problem = (f"the container never ran the command: {told}" if ended else
                        f"the command did not run within {self.time_limit:g} s: {told}")

    def end(self, look: Look, run: Json, name: str, time_limit: Optional[float] = None) -> None:
        """Waits for the end of a run, keeps its result, and kills what is left."""
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

    def left_processes(self, patience: float = 1.0) -> List[str]:
        """Everything that still runs although the program under test has ended, except our
        helpers and their children. What is running may be cleaning up, which is slow on a busy
        machine."""
        start = time.monotonic()
        while True:
            left = [process for process in self.agent.processes()
                    if not self.helpers & {process["pid"], process["ppid"]}
                    and process["state"] != "Z"]
            at_work = any(process["state"] in "RD" for process in left)
            limit = self.seconds(10 * patience if at_work else patience)
            if not left or time.monotonic() - start > limit:
                return [f"process: new: {' '.join(process['argv']) or process['name']}"
                        for process in left]
            time.sleep(0.01)

    # --- What the host sees of it -------------------------------------------------------------

    def wait_for_family(self, starter: int) -> Optional[int]:
        """The child of `starter` that is the program, as soon as it has a child itself."""
        end = time.monotonic() + self.time_limit
        while time.monotonic() < end:
            children = self.children()
            for process in children.get(starter, []):
                program = self.program_in(process["pid"])
                if children.get(program):
                    return program
            time.sleep(0.005)
        return None

    def children(self) -> Dict[int, List[Json]]:
        """The processes of the host that have not ended, by their parents."""
        found: Dict[int, List[Json]] = {}
        for process in self.agent.processes():
            if process["state"] != "Z":
                found.setdefault(process["ppid"], []).append(process)
        return found

    def program_of(self, run: Json) -> int:
        return self.program_in(run["pid"])

    def program_in(self, pid: int) -> int:
        """The process of the program itself, also where a wrapper waits for it: that is a shell
        with one child, and does nothing about signals."""
        children = self.children()
        exes = {process["pid"]: process["exe"] for family in children.values()
                for process in family}
        while os.path.basename(exes.get(pid, "")) in SHELLS and len(children.get(pid, [])) == 1:
            child = children[pid][0]
            caught = int(self.status_of(pid).get("SigCgt", "0"), 16)
            if caught & SIGTERM or child["argv"][1:2] == [self.nonce]:
                break
            pid = child["pid"]
        return pid

    def signal(self, name: str, pid: int) -> None:
        try:
            self.agent.signal(name, pid=pid)
        except AgentError as error:
            raise NotStarted(f"it has ended before it was sent SIG{name}: {error}") from error

    def status_of(self, pid: Union[int, str]) -> Dict[str, str]:
        """/proc/PID/status, taken apart."""
        text = self.agent.read(f"/proc/{pid}/status")[f"/proc/{pid}/status"].get("text", "")
        fields = (line.partition(":") for line in text.splitlines())
        return {key: value.strip() for key, _, value in fields}

    def find_probe(self, run: Json) -> Json:
        """The process of the probe, by its nonce. What it has forked ends before it holds."""
        end = time.monotonic() + self.time_limit
        while True:
            found = self.processes_of_probe()
            if len(found) == 1:
                return found[0]
            if not found:
                now = self.agent.wait(run["run"], 0.0)
                if now["over"]:
                    raise NotStarted(f"it ended before its command did: {tell_run(now)}")
            if time.monotonic() > end and not found:
                raise NotStarted(f"the host does not see the command: {tell_run(now)}")
            if time.monotonic() > end:
                raise ProbeBroke(f"the probe is not one process of the host, but {len(found)}")
            time.sleep(0.005)

    def facts_of_probe(self, run: Json) -> Dict[str, Any]:
        """What the host sees of the probe while it holds."""
        facts = self.facts_of(self.find_probe(run)["pid"])
        self.find_probe(run)  # /proc has nothing about a process that has ended
        return facts

    def facts_of(self, pid: int) -> Dict[str, Any]:
        """What /proc on the host shows about a process, and about the host."""
        base = f"/proc/{pid}"
        kinds = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
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
            "environ": words_of(texts[f"{base}/environ"].get("text")),
            "marker": texts[f"{base}/root/.marker"],
            "descriptors": descriptors.get("entries"),
            "all_mounts": mounts,
            "places": {name.replace(base, "PROBE"): place for name, place in places.items()},
        }


def words_of(text: Optional[str]) -> Optional[List[str]]:
    """What is between NULs; None if it cannot be read."""
    return None if text is None else [word for word in text.split("\0") if word]


def not_startable(error: AgentError) -> Json:
    return {"why": "not started", "over": True, "exit": -1, "stdout": "", "stderr": str(error)}


# One start of the program under test, or a few that belong together.
Scene = Callable[[Stage], Look]


def look_of(stage: Stage) -> Look:
    return Look(stage.identity, stage.names, stage.agent.place.ordinary, stage.table)
