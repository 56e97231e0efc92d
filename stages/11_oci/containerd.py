"""containerd, in a world of its own, for the tests of stage 11."""

from __future__ import annotations

import io
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from conftest import TIMEOUT, children_of, wait_until
from oci_runtime import PROGRAM

sys.path.insert(0, os.getcwd())
from harness import oci_layout as oci  # noqa: E402  # pylint: disable=wrong-import-position

IMAGE = "example.org/busybox:latest"
PLUGINS = "/usr/lib/cni"
SOCKET = "/run/containerd/containerd.sock"
PATH = f"{os.environ.get('PATH', '/usr/bin:/bin')}:/usr/sbin:/sbin"

# $1: the cgroup that is the root of the world's. containerd itself is in one below, because a
# cgroup that has processes cannot enable controllers, see "No Internal Process Constraint".
OUTSIDE = """
mkdir "$1/engine"
echo 0 >"$1/cgroup.procs"
exec unshare --cgroup sh -ec 'echo 0 >"$1/engine/cgroup.procs"
    exec unshare --mount --pid --net --ipc --uts --fork --kill-child --mount-proc \\
        sh -ec "$INSIDE" sh "$2"' sh "$1" "$2"
"""
# $1: a folder of the test's. Nothing that containerd writes is on the disk.
INSIDE = """
mount --make-rprivate /
while umount -R /sys/fs/cgroup 2>/dev/null; do :; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mount -t tmpfs run /run
mount -t tmpfs lib /var/lib
ip link set lo up
exec containerd --config "$1/config.toml"
"""

CONFIG = f"""
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
[grpc]
  address = "{SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{IMAGE}"
  disable_cgroup = CONFINED
  restrict_oom_score_adj = CONFINED
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "{PLUGINS}"
  conf_dir = "FOLDER/cni"
[plugins."io.containerd.grpc.v1.cri".containerd]
  default_runtime_name = "hood"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.hood]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.hood.options]
  BinaryName = "{PROGRAM}"
"""

NETWORK = {
    "cniVersion": "0.4.0", "name": "pods", "plugins": [{
        "type": "bridge", "bridge": "cni0", "isGateway": True,
        "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.22.0.0/16"}]]}}]}


def write_image(path: pathlib.Path) -> None:
    """The built-in root as an OCI archive. As a pod's first container, it does nothing."""
    files = oci.layout([pathlib.Path("rootfs/rootfs.tar").read_bytes()], {
        "Cmd": ["sleep", "1000000"], "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]})
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


@dataclass
class Containerd:
    """The engine, as it runs."""

    folder: pathlib.Path
    cgroup: pathlib.Path
    program: subprocess.Popen

    def words(self, *words: str | os.PathLike) -> list[str]:
        """A command in its world."""
        return ["nsenter", "--target", str(self.pid()), "--mount", "--net", "--pid", "--ipc",
                "--uts", "--cgroup", "--", *map(str, words)]

    def pid(self) -> int:
        return children_of(self.program.pid)[0]

    def run(self, *words: str | os.PathLike, **how) -> subprocess.CompletedProcess:
        how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
               "text": True, "timeout": TIMEOUT, "check": False, **how}
        return subprocess.run(self.words(*words), env={"PATH": PATH}, **how)

    def do(self, *words: str | os.PathLike) -> str:
        result = self.run(*words)
        assert result.returncode == 0, result.stderr + self.log()[-2000:]
        return result.stdout

    def start(self, *words: str) -> list[str]:
        """`ctr run`, whose default is a limit."""
        return ["ctr", "run", "--runc-binary", str(PROGRAM),
                *([] if self.has_controllers() else ["--cpu-shares", "0"]), *words]

    def has_controllers(self) -> bool:
        return "memory" in (self.cgroup / "cgroup.controllers").read_text().split()

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")

    def leftovers(self) -> list[str]:
        """What there would be of a container of ours: its state, cgroup, mounts, network."""
        state = self.run("find", "/run/containerd/runc", "-mindepth", "2", "-maxdepth", "2").stdout
        mounts = self.do("cat", "/proc/mounts")
        return sorted([
            *state.split(),
            *[str(path.relative_to(self.cgroup)) for path in self.cgroup.glob("*/*/")
              if path.parent.name != "engine"],
            *[line.split()[1] for line in mounts.splitlines() if " overlay " in line],
            *self.run("ls", "/run/netns").stdout.split()])


def mount_of_cgroup2() -> pathlib.Path | None:
    for line in pathlib.Path("/proc/mounts").read_text(encoding="utf-8").splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return pathlib.Path(place)
    return None


def write_config(folder: pathlib.Path, confined: bool) -> None:
    """If `confined`, pods have no limits, and are as likely to be killed as containerd is."""
    (folder / "config.toml").write_text(CONFIG.replace("FOLDER", str(folder)).replace(
        "CONFINED", str(confined).lower()))
    (folder / "cni").mkdir()
    (folder / "cni/pods.conflist").write_text(json.dumps(NETWORK))
    write_image(folder / "image.tar")


def why_not_here() -> str:
    if os.geteuid() != 0:
        return "needs root: --config=root"
    for program in ("containerd", "ctr", f"{PLUGINS}/bridge"):
        if shutil.which(program) is None:
            return f"{program} is not installed: ./setup.sh --engines"
    return "" if mount_of_cgroup2() else "cgroup v2 is not mounted here"


@pytest.fixture(name="containerd", scope="module")
def make_containerd() -> Iterator[Containerd]:
    if why := why_not_here():
        pytest.skip(why)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="containerd-", dir="/tmp"))
    cgroup = mount_of_cgroup2() / folder.name  # type: ignore[operator]
    cgroup.mkdir()
    write_config(folder, "memory" not in (cgroup / "cgroup.controllers").read_text())
    with open(folder / "log", "w", encoding="utf-8") as log, subprocess.Popen(
            ["sh", "-ec", OUTSIDE, "sh", str(cgroup), str(folder)], stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, env={"PATH": PATH, "INSIDE": INSIDE}) as program:
        engine = Containerd(folder, cgroup, program)
        try:
            assert wait_until(lambda: children_of(program.pid) and engine.run(
                "ctr", "version").returncode == 0), engine.log()
            for namespace in ("default", "k8s.io"):
                engine.do("ctr", "--namespace", namespace, "images", "import", "--base-name",
                          IMAGE.partition(":")[0], folder / "image.tar")
            yield engine
        finally:
            program.kill()
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
