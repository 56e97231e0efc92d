"""A world for the cases of one worker: mounts, network, cgroups and caches of its own, so that
neither this machine nor another worker sees what goes wrong in it. And what is left in it."""

from __future__ import annotations

import dataclasses
import fnmatch
import itertools
import json
import os
import subprocess
import time
from typing import Any, Dict, List, Optional, Sequence, Set

from harness.agent_client import Agent, AgentError, Json, Place
from harness.faults.configurations import FOLDER, ROOT, SUBORDINATE, Configuration
from harness.faults.isolation import steady

CACHES = {False: "/var/cache/containers-under-the-hood",
          True: f"{FOLDER}/home/.cache/containers-under-the-hood"}  # of root; of the user
CGROUPS = "/sys/fs/cgroup"
LOG = f"{FOLDER}/log"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
EXTRA_GROUP = 4242  # one that the user is in, and that a container must not keep by accident

# In cgroup v2 a cgroup with processes cannot enable controllers for its children, so the agent
# moves into a child. /dev/null is the world's own: crun gives what it has as stdin to the
# container's user.
# For a shell that ends at the first error (-e).
ENTER_CGROUP = """
enter_cgroup() {
  until mkdir -p "$1" && echo 0 >"$1/cgroup.procs"; do
    [ $((attempts += 1)) -lt 3 ]  # another run may have removed it as if it had been left
  done
}
"""
SET_UP = "set -e" + ENTER_CGROUP + r"""
point=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
world="$point/$1"
enter_cgroup "$world"
shift
exec unshare --mount --cgroup --propagation private sh -ec '
  umount -R /sys/fs/cgroup 2>/dev/null || true
  mount -t cgroup2 none /sys/fs/cgroup
  mkdir -p /sys/fs/cgroup/agent
  echo $$ >/sys/fs/cgroup/agent/cgroup.procs
  for name in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$name" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true
  done
  mount -t tmpfs -o mode=755 tmpfs /run
  mknod -m 666 /run/null c 1 3
  mount --bind /run/null /dev/null
  exec "$@"' sh "$@"
"""

# Cgroups outlive their processes, and those of a run that was killed are removed by the next one. A
# cgroup that has a process in it is in use, also if that is in a PID namespace that is not ours.
REMOVE_LEFT = r"""
point=$(awk '$3 == "cgroup2" {print $2; exit}' /proc/mounts)
for left in "$point/$1"-*; do
  if grep -qsx "populated 0" "$left/cgroup.events"; then
    find "$left" -depth -type d -exec rmdir {} + 2>/dev/null
  fi
done
"""


def remove_left_cgroups(place: Place, kind: str) -> None:
    """Those called KIND-* in which no process runs, however deep they are."""
    subprocess.run(place.command(["sh", "-c", REMOVE_LEFT, "sh", kind]), check=False)


@dataclasses.dataclass(frozen=True)
class Tools:
    """Where the programs are, on this machine."""

    agent: str
    probe: str
    busybox: str
    inject: str
    programs: Dict[str, str]  # by name: of the stages and of other tools
    builtin_root: str  # rootfs.tar


class _Prefixed:
    """A place whose agents live in a world."""

    def __init__(self, place: Place, name: str) -> None:
        self._place = place
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._place, attribute)

    def command(self, words: Sequence[str]) -> List[str]:
        return self._place.command(["sh", "-c", SET_UP, "sh", self._name, *words])


_worlds = itertools.count()


class WorldError(Exception):
    """The world cannot be made. The text is for users."""


class World:
    """Programs are started in it by an agent, which is PID 1 there."""

    def __init__(self, place: Place, tools: Tools, name: str) -> None:
        self.place = place
        self.tools = tools
        # Of its own: RLIMIT_NPROC counts all processes of the machine that this user has.
        self.uid = self.gid = 1_000_000 + os.getpid() * 100 + next(_worlds)
        self.name = f"faults-{name}-{os.getpid()}"  # another sweep may be running here
        remove_left_cgroups(place, "faults")
        kept = {os.path.dirname(path) for path in (tools.inject, tools.probe, tools.builtin_root,
                                                   *tools.programs.values())}
        self.agent = Agent(tools.agent, own_host=True, place=_Prefixed(place, self.name),
                           keep=sorted(map(place.path, kept)))
        self.cases = 0
        self.programs: Dict[str, str] = {}
        try:
            self._furnish()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.agent.close()
        remove_left_cgroups(self.place, "faults")

    # --- What is in it ------------------------------------------------------------------------

    def _furnish(self) -> None:
        place, tools = self.place, self.tools
        folders = ("", "bin", "bin/rootfs", "bin/stages", "bundle", "etc", "home", "keep", "layer",
                   "layer/etc", "root", "root/bin", "root/dev", "root/etc", "root/mnt",
                   "root/proc", "root/root", "root/sys", "root/tmp", "root/volume", "root-home",
                   "volume")
        files: List[Json] = [self._entry(name, "directory") for name in folders]
        files += [self._entry(f"bin/stages/{name}", "directory") for name in tools.programs]
        for name, path in tools.programs.items():
            self.programs[name] = path
            if name[0].isdigit():  # a stage looks for its root relative to its own file
                self.programs[name] = f"{FOLDER}/bin/stages/{name}/{name}"
                files.append(self._entry(f"bin/stages/{name}/{name}", mode=0o755,
                                         copy_from=place.path(path)))
        files += [
            self._entry("bin/rootfs/rootfs.tar", copy_from=place.path(tools.builtin_root)),
            self._entry("bin/inject", mode=0o755, copy_from=place.path(tools.inject)),
            self._entry("bin/probe", mode=0o755, copy_from=place.path(tools.probe)),
            self._entry("root/probe", mode=0o755, copy_from=place.path(tools.probe)),
            self._entry("root/bin/busybox", mode=0o755, copy_from=place.path(tools.busybox)),
            self._entry("root/bin/sh", "link", text="busybox"),
            self._entry("root/etc/passwd", text="root:x:0:0:root:/root:/bin/sh\n"
                        "user:x:1:1::/:/bin/sh\n"),
            self._entry("root/etc/group", text="some:x:2:user\n"),
            self._entry("volume/file", text="volume"),
            self._entry("layer/etc/layer", text="layer"),
            self._entry("etc/subids", text=f"tester:{SUBORDINATE}:65536\n"),
        ]
        self.agent.make(files)
        self.shell(f"""
            mkdir -p /run/crun
            cd {FOLDER}
            tar -cf layer.tar -C layer .
            chown {self.uid}:{self.gid} home
            if ! ip link show uplink; then
              ip link add uplink type veth peer name uplink2
              ip link set uplink2 up; ip addr add 198.18.0.2/24 dev uplink
              ip link set uplink up; ip route add default via 198.18.0.1
            fi >/dev/null 2>&1
            (grep -v '^[^:]*:[^:]*:{self.uid}:' /etc/passwd
             echo 'tester:x:{self.uid}:{self.gid}::/tmp:/bin/sh') >etc/passwd
            mount --bind etc/passwd /etc/passwd
            for name in subuid subgid; do
              if [ -e /etc/$name ]; then mount --bind etc/subids /etc/$name; fi
            done
            if [ -c /dev/net/tun ]; then
              mknod -m 666 tun c 10 200; mount --bind tun /dev/net/tun
            fi""")
        controllers = self._text(f"{CGROUPS}/cgroup.subtree_control").split()
        self.has = {"": True, "tun": self._is_there("/dev/net/tun"),
                    "controllers": {"cpu", "memory", "pids"} <= set(controllers)}

    def _entry(self, path: str, kind: str = "file", **more: Any) -> Json:
        if kind == "directory":
            more.setdefault("mode", 0o755)
        elif kind == "file":
            more.setdefault("mode", 0o644)
        return {"kind": kind, "path": f"{FOLDER}/{path}" if path else FOLDER, **more}

    def _text(self, path: str) -> str:
        return self.agent.read(path)[path].get("text", "")

    def _is_there(self, path: str) -> bool:
        return "errno" not in self.agent.stat(path)[path]

    def shell(self, script: str, check: bool = True, time_limit: float = 60.0) -> str:
        """Runs a script of the host's shell here, as root."""
        done = self.agent.run(["sh", "-c", script], program="/bin/sh", time_limit=time_limit,
                              env={"PATH": PATH}, cwd="/")
        if check and done.get("exit") != 0:
            raise WorldError(f"{script}: {done['stderr'] or done}")
        return done["stdout"]

    def can_start(self, configuration: Configuration) -> bool:
        return configuration.program in self.programs and self.has[configuration.needs]

    # --- A start in it ------------------------------------------------------------------------

    def new_cgroup(self, user: bool) -> str:
        """That of a caller, in one that is delegated to them, see cgroups(7)."""
        self.cases += 1
        slice_ = f"{CGROUPS}/case-{self.cases}"
        owner = {"uid": self.uid, "gid": self.gid} if user else {}
        self.agent.make([{"kind": "directory", "path": slice_, **owner}])
        if self.has["controllers"]:
            self.agent.make([{"path": f"{slice_}/cgroup.subtree_control",
                              "text": "+cpu +memory +pids"}])
        self.agent.make([{"kind": "directory", "path": f"{slice_}/session", **owner}])
        if user:
            self.agent.make([{"path": f"{folder}/cgroup.{name}", **owner}
                             for folder in (slice_, f"{slice_}/session")
                             for name in ("procs", "threads", "subtree_control")])
        return slice_

    def end_cgroup(self, slice_: str) -> None:
        """Kills what is left in it, and removes it."""
        self.agent.ask("finish_all")
        self.shell(f"find {slice_} -depth -type d -exec rmdir {{}} +", check=False)

    def reset(self, configuration: Configuration) -> None:
        """Removes what a start leaves on purpose: the cache, if it has to be cold, and kept
        directories."""
        cache = CACHES[configuration.user]
        paths = []
        for pattern in configuration.cold:
            folder, _, name = f"{cache}/{pattern}".rpartition("/")
            entries = self.agent.list(folder)[folder].get("entries", {})
            paths += [f"{folder}/{entry}" for entry in entries if fnmatch.fnmatch(entry, name)]
        keeps = any("/keep" in option for option in configuration.options)
        if paths or keeps:
            self.agent.ask("remove", paths=paths + [f"{FOLDER}/keep"] * keeps)
        if keeps:
            self.agent.make([self._entry("keep", "directory", mode=0o700)])

    def start(self, configuration: Configuration, slice_: str, command: List[str],
              fault: Optional[Sequence[str]] = None, wrapper: Sequence[str] = (),
              **circumstances: Any) -> int:
        """Starts it, through `inject` if there is a fault (or none, to see the calls)."""
        options = tuple(option.format(uid=self.uid, gid=self.gid)
                        for option in configuration.options)
        configuration = dataclasses.replace(configuration, options=options)
        if configuration.is_runtime:
            self._write_bundle(configuration.program, command)
        words = configuration.words(self.programs[configuration.program], command)
        home = f"{FOLDER}/home" if configuration.user else f"{FOLDER}/root-home"
        given: Json = {"env": {"PATH": PATH, "HOME": home, "TERM": "dumb"}, "cwd": "/tmp",
                       "cgroup": f"{slice_}/session", "close_stdin": False, "umask": 0o022}
        if configuration.terminal:
            given["terminal"] = {}
        if fault is not None:
            user = ["--user", f"{self.uid}:{self.gid},{EXTRA_GROUP}"] if configuration.user else []
            words = [f"{FOLDER}/bin/inject", "--log", LOG, *fault, *user, "--", *words]
        elif configuration.user:
            given["user"] = {"uid": self.uid, "gid": self.gid, "groups": [self.gid, EXTRA_GROUP]}
        given["env"].update(circumstances.pop("more_env", {}))
        given.update(circumstances)
        if given.get("user", ...) is None:
            del given["user"]
        return self.agent.start([*wrapper, *words], time_limit=30 * self.place.patience,
                                **given)["run"]

    def _write_bundle(self, runtime: str, command: List[str]) -> None:
        """The output of its command `spec`, for this command and ROOT."""
        folder = f"{FOLDER}/bundle"
        spec = f"{folder}/{runtime}.json"
        if not self._is_there(spec):
            self.shell(f"cd {folder} && rm -f config.json && {self.programs[runtime]} spec &&"
                       f" mv config.json {spec}")
        config = json.loads(self._text(spec))
        config["process"].update(terminal=False, args=command)
        config["root"] = {"path": ROOT, "readonly": False}
        config["linux"].pop("resources", None)
        self.agent.make([{"path": f"{folder}/config.json", "text": json.dumps(config)}])

    def delete_container(self, configuration: Configuration) -> None:
        """As engines do after a failure; other programs' containers have no names."""
        if configuration.is_runtime:
            self.shell(f"{self.programs[configuration.program]} delete --force faults",
                       check=False)

    def log(self) -> str:
        return self._text(LOG)

    # --- What is left -------------------------------------------------------------------------

    def processes(self) -> List[str]:
        """Those that a program has left behind."""
        return [" ".join(process["argv"]) or process["name"] for process in self.agent.processes()
                if process["state"] != "Z"]

    def wait_for_processes(self, seconds: float) -> List[str]:
        """The processes that still exist after this time, because a container needs a moment to
        end."""
        end = time.monotonic() + seconds * self.place.patience
        while True:
            left = self.processes()
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.01)

    def state(self, slice_: str, configuration: Configuration) -> Set[str]:
        """Everything that a container could leave besides processes, one line each."""
        cache = CACHES[configuration.user]
        folders = {slice_: "cgroup", f"{slice_}/session": "cgroup", "/run": "file", "/tmp": "file",
                   "/run/containers-under-the-hood": "file", "/run/11_oci": "file",
                   "/dev/shm": "file", cache: "cache", f"{cache}/layers": "cache",
                   f"{cache}/uppers": "cache"}
        state = set()
        for folder, listed in self.agent.list(*folders).items():
            for name in listed.get("entries", {}):
                if folders[folder] == "cgroup" and ("." in name or name == "session"):
                    continue  # a file of the kernel's
                if f"{folder}/{name}" not in folders:
                    state.add(f"{folders[folder]} {steady(f'{folder}/{name}')}")
        facts = self.agent.read("/proc/self/mountinfo", "/proc/self/net/dev",
                                "/proc/sys/net/ipv4/ip_forward")
        for line in facts["/proc/self/mountinfo"]["text"].splitlines():
            fields = line.split()
            state.add(f"mount {fields[4]} {fields[3]}")
        for line in facts["/proc/self/net/dev"]["text"].splitlines()[2:]:
            state.add(f"link {line.split(':')[0].strip()}")
        state.add(f"ip_forward {facts['/proc/sys/net/ipv4/ip_forward']['text'].strip()}")
        if configuration.bridge:
            tables = self.shell("nft list tables", check=False)
            state |= {f"nft {line}" for line in tables.splitlines()}
        return state

    def clean_network(self) -> None:
        """Cleans up if even the next start has left something, so that later cases start clean."""
        self.shell("""
            for link in $(ls /sys/class/net /proc/sys/net/ipv4/conf | grep '^hood' | sort -u); do
              ip link del $link
            done
            nft delete table ip containers_under_the_hood
            nft delete table inet containers_under_the_hood
            echo 0 >/proc/sys/net/ipv4/ip_forward
            rm -rf /run/containers-under-the-hood""", check=False)

    def remove(self, left: Sequence[str]) -> None:
        paths = [line.split(" ", 1)[1] for line in left if line.startswith(("file ", "cache "))]
        try:
            if paths:
                self.agent.ask("remove", paths=paths)
        except AgentError:
            pass  # then it is part of all later states
