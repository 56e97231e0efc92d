"""A world in which an engine runs, for the tests of stage 11: of this machine it uses only the
programs, and it ends with all of its processes."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import conftest
import pexpect
from conftest import children_of, name_of

sys.path.insert(0, os.getcwd())
from harness import oci_layout as oci  # noqa: E402  # pylint: disable=wrong-import-position

PATH = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"
TIMEOUT = 4 * conftest.TIMEOUT  # an engine starts several programs for each command
NO_CONTROLLERS = "cgroup v2 has no memory controller here: it is tested in the virtual machine"

# Nobody on this machine, and an ordinary user in the world, with subordinate ids.
UID = 12345
USER = "somebody"

# $1: the cgroup that is the root of the world's. Processes are in those below, because a cgroup
# that has processes cannot enable controllers, see "No Internal Process Constraint" in
# cgroup-v2.rst.
OUTSIDE = """
mkdir "$1/root" "$1/user"
chown "$UID_INSIDE" "$1/user" "$1/user/cgroup.procs" "$1/user/cgroup.subtree_control"
echo 0 >"$1/cgroup.procs"
exec unshare --cgroup sh -ec '
    echo 0 >"$0/root/cgroup.procs"
    for controller in $(cat "$0/cgroup.controllers"); do
        echo "+$controller" >"$0/cgroup.subtree_control"
    done
    exec unshare --mount --pid --net --ipc --uts --fork --kill-child --mount-proc \\
        sh -ec "$INSIDE" "$@"' "$@"
"""
# $0: a folder of the test's. Nothing that an engine writes to its own folders is on the disk. crun
# gives what it has as stdin to the container's user: that must not be the machine's /dev/null.
INSIDE = """
mount --make-rprivate /
while umount -R /sys/fs/cgroup 2>/dev/null; do :; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs -o mode=755 run /run
mknod -m 666 /run/null c 1 3
mount --bind /run/null /dev/null
mount -t tmpfs -o mode=755 lib /var/lib
mkdir -p "/run/user/$UID_INSIDE"
chown "$UID_INSIDE" "/run/user/$UID_INSIDE"
for file in "$0"/etc/*; do
    mount --bind "$file" "/etc/${file##*/}"
done
ip link set lo up
exec "$@"
"""


def wait_until(condition: Callable[[], object]) -> bool:
    return conftest.wait_until(condition, TIMEOUT)


@dataclass
class World:
    """The world, as long as its first program runs."""

    folder: pathlib.Path
    cgroup: pathlib.Path
    program: subprocess.Popen
    variables: dict[str, str] = field(default_factory=dict)  # for commands in it

    def pid(self) -> int:
        return children_of(self.program.pid)[0]

    def words(self, *words: str | os.PathLike, user: bool = False) -> list[str]:
        """A command in it, as root or as its ordinary user."""
        procs = self.cgroup / ("user" if user else "root") / "cgroup.procs"
        who = ["setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--"]
        return ["sh", "-c", 'echo 0 >"$0" && exec "$@"', str(procs),
                "nsenter", "--target", str(self.pid()), "--mount", "--net", "--pid", "--ipc",
                "--uts", "--cgroup", "--", "sh", "-c", 'cd "$HOME" && exec "$@"', "sh",
                *(who if user else []), *map(str, words)]

    def environment(self, user: bool = False) -> dict[str, str]:
        theirs = {"HOME": str(self.folder / "home"), "USER": USER,
                  "XDG_RUNTIME_DIR": f"/run/user/{UID}"}
        return {"PATH": PATH, "TERM": "xterm", "HOME": str(self.folder), **self.variables,
                **(theirs if user else {})}

    def run(self, *words: str | os.PathLike, user: bool = False,
            **how) -> subprocess.CompletedProcess:
        # stdin is a pipe, because /dev/null would be the machine's.
        how = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
               "text": True, "timeout": TIMEOUT, "check": False, "env": self.environment(user),
               **how}
        return subprocess.run(self.words(*words, user=user), **how)

    def do(self, *words: str | os.PathLike, user: bool = False) -> str:
        result = self.run(*words, user=user)
        assert result.returncode == 0, result.stderr + self.log()[-2000:]
        return result.stdout

    @contextlib.contextmanager
    def terminal(self, *words: str, user: bool = False) -> Iterator[pexpect.spawn]:
        """A command in it in a terminal of 12 rows and 34 columns."""
        command, *rest = self.words(*words, user=user)
        with pexpect.spawn(command, rest, timeout=TIMEOUT, encoding="utf-8",
                           env=self.environment(user), dimensions=(12, 34)) as terminal:
            yield terminal

    def has_controllers(self) -> bool:
        return "memory" in (self.cgroup / "cgroup.controllers").read_text().split()

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")


def mount_of_cgroup2() -> pathlib.Path | None:
    for line in pathlib.Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(place)
    return None


def why_not_here(*programs: str) -> str:
    """Why there can be no world with these; "" if there can."""
    if os.geteuid() != 0:
        return "needs root: --config=root"
    for program in programs:
        if shutil.which(program, path=PATH) is None:
            return f"{program} is not installed: ./setup.sh --engines"
    return "" if mount_of_cgroup2() else "cgroup v2 is not mounted here"


# As on a machine without systemd.
CONTAINERS_CONF = """
[containers]
cgroups = "{cgroups}"
netns = "none"
[engine]
runtime = "{name}"
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime_supports_json = ["{name}"]
runtime_supports_nocgroup = ["{name}"]
[engine.runtimes]
{name} = ["{program}"]
"""


def containers_conf(name: str, program: str | os.PathLike, has_controllers: bool) -> str:
    """podman's configuration, with this runtime. Where cgroup v2 has no controllers, containers get
    no cgroup."""
    return CONTAINERS_CONF.format(name=name, program=program,
                                  cgroups="enabled" if has_controllers else "disabled")


def write_image(path: pathlib.Path) -> None:
    """The built-in root as an OCI archive."""
    files = oci.layout([pathlib.Path("rootfs/rootfs.tar").read_bytes()], {
        "Cmd": ["sleep", "1000000"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]})
    path.write_bytes(oci.tar(*(oci.entry(*file) for file in files.items())))


def write_files(folder: pathlib.Path) -> None:
    folder.chmod(0o755)
    write_image(folder / "image.tar")
    home = folder / "home"
    home.mkdir()
    os.chown(home, UID, UID)
    etc = folder / "etc"
    etc.mkdir()
    lines = {"passwd": f"{USER}:x:{UID}:{UID}::{home}:/bin/sh", "group": f"{USER}:x:{UID}:",
             "subuid": f"{USER}:300000:65536", "subgid": f"{USER}:300000:65536"}
    for name, line in lines.items():
        there = pathlib.Path("/etc", name)
        if there.exists():
            (etc / name).write_text(there.read_text(encoding="utf-8").rstrip("\n") + f"\n{line}\n")


@contextlib.contextmanager
def engine_world(*program: str, prepare=lambda folder, cgroup: None) -> Iterator[World]:
    """A world whose first process is `program`. FOLDER among its words is a folder of the test's,
    in which `prepare` may write files before."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="engine-", dir="/tmp"))
    cgroup = mount_of_cgroup2() / folder.name  # type: ignore[operator]
    cgroup.mkdir()
    write_files(folder)
    prepare(folder, cgroup)
    words = [word.replace("FOLDER", str(folder)) for word in program]
    with open(folder / "log", "w", encoding="utf-8") as log, subprocess.Popen(
            ["sh", "-ec", OUTSIDE, "sh", str(cgroup), str(folder), *words],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env={"PATH": PATH, "INSIDE": INSIDE, "UID_INSIDE": str(UID)}) as started:
        try:
            world = World(folder, cgroup, started)
            assert wait_until(
                lambda: program[0] in map(name_of, children_of(started.pid))), world.log()
            yield world
        finally:
            started.kill()
    for path in sorted(cgroup.rglob("*/"), reverse=True):
        assert wait_until(lambda path=path: remove_cgroup(path)), path  # type: ignore[misc]
    cgroup.rmdir()
    shutil.rmtree(folder)


def remove_cgroup(path: pathlib.Path) -> bool:
    """Whether its last process has ended, too."""
    try:
        path.rmdir()
    except OSError:
        return False
    return True
