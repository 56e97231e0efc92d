"""containerd, in a world of its own, for the tests of stage 11."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterator

import pytest
from engine_world import World, engine_world, wait_until, why_not_here
from oci_runtime import PROGRAM

IMAGE = "example.org/busybox:latest"
PLUGINS = "/usr/lib/cni"
SOCKET = "/run/containerd/containerd.sock"
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


class Containerd(World):
    """The engine, as it runs."""

    def start(self, *words: str) -> list[str]:
        """`ctr run`, whose default is a limit."""
        return ["ctr", "run", "--runc-binary", str(PROGRAM),
                *([] if self.has_controllers() else ["--cpu-shares", "0"]), *words]

    def leftovers(self) -> list[str]:
        """What there would be of a container of ours: its state, cgroup, mounts, network."""
        state = self.run("find", "/run/containerd/runc", "-mindepth", "2", "-maxdepth", "2").stdout
        mounts = self.do("cat", "/proc/mounts")
        return sorted([
            *state.split(),
            *[str(path.relative_to(self.cgroup)) for path in self.cgroup.glob("*/*/")
              if path.parent.name not in ("root", "user")],
            *[line.split()[1] for line in mounts.splitlines() if " overlay " in line],
            *self.run("ls", "/run/netns").stdout.split()])


def write_config(folder: pathlib.Path, cgroup: pathlib.Path) -> None:
    """Without controllers, pods have no limits, and are as likely to be killed as containerd is."""
    confined = "memory" not in (cgroup / "cgroup.controllers").read_text()
    (folder / "config.toml").write_text(CONFIG.replace("FOLDER", str(folder)).replace(
        "CONFINED", str(confined).lower()))
    (folder / "cni").mkdir()
    (folder / "cni/pods.conflist").write_text(json.dumps(NETWORK))


@pytest.fixture(name="containerd", scope="module")
def make_containerd() -> Iterator[Containerd]:
    if why := why_not_here("containerd", "ctr", f"{PLUGINS}/bridge"):
        pytest.skip(why)
    with engine_world("containerd", "--config", "FOLDER/config.toml",
                      prepare=write_config) as world:
        engine = Containerd(world.folder, world.cgroup, world.program)
        assert wait_until(lambda: engine.run("ctr", "version").returncode == 0), engine.log()
        for namespace in ("default", "k8s.io"):
            engine.do("ctr", "--namespace", namespace, "images", "import", "--base-name",
                      IMAGE.partition(":")[0], engine.folder / "image.tar")
        yield engine
