"""podman drives the runtime, as root and rootless."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pexpect
import pytest
from engine_world import (NO_CONTROLLERS, World, containers_conf, engine_world, wait_until,
                          why_not_here)
from oci_runtime import PROGRAM

BOX = "localhost/box:latest"


@dataclass
class Podman:
    """podman, as one user."""

    world: World
    user: bool

    def run(self, *words: str, **how) -> subprocess.CompletedProcess:
        return self.world.run("podman", *words, user=self.user, **how)

    def do(self, *words: str, **how) -> str:
        result = self.run(*words, **how)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def out(self, *words: str) -> str:
        """What a container writes that is removed at its end."""
        return self.do("run", "--rm", *words)

    def terminal(self, *words: str) -> contextlib.AbstractContextManager[pexpect.spawn]:
        return self.world.terminal("podman", *words, user=self.user)

    def shared(self, name: str) -> str:
        """A folder of this user's."""
        path = self.world.folder / ("home" if self.user else "") / name
        path.mkdir(exist_ok=True)
        if self.user:
            os.chown(path, *(os.stat(path.parent).st_uid,) * 2)
        return str(path)

    def status(self, name: str) -> str:
        return self.do("inspect", "--format", "{{.State.Status}}", name).strip()


def write_config(folder: pathlib.Path, cgroup: pathlib.Path) -> None:
    has_controllers = "pids" in (cgroup / "cgroup.controllers").read_text()
    (folder / "containers.conf").write_text(
        containers_conf("hood", folder / "11_oci", has_controllers))
    shutil.copy(PROGRAM, folder)  # where every user may execute it


@pytest.fixture(name="world", scope="module")
def make_world() -> Iterator[World]:
    if why := why_not_here("podman", "conmon", "catatonit"):
        pytest.skip(why)
    # It reaps: conmon leaves its parent.
    with engine_world("catatonit", "-P", prepare=write_config) as world:
        yield world


@pytest.fixture(name="podman", scope="module", params=["root", "rootless"])
def make_podman(request, world) -> Iterator[Podman]:
    user = request.param == "rootless"
    world.variables = {"CONTAINERS_CONF": str(world.folder / "containers.conf")}
    podman = Podman(world, user)
    podman.do("load", "--input", str(world.folder / "image.tar"))
    podman.do("tag", "localhost/latest", BOX)
    info = json.loads(podman.do("info", "--format", "json"))
    assert info["host"]["ociRuntime"]["path"] == f"{world.folder}/11_oci"
    assert info["host"]["security"]["rootless"] is user
    yield podman
    podman.do("rm", "--all", "--force", "--time", "0")


@pytest.fixture(name="started")
def make_started(podman) -> Iterator[Podman]:
    """The container `c`."""
    podman.do("run", "--detach", "--name", "c", BOX, "sh", "-c",
              "echo began; trap 'exit 7' TERM; while :; do sleep 0.05; done")
    assert wait_until(lambda: "began" in podman.do("logs", "c"))
    yield podman
    podman.do("rm", "--force", "--time", "0", "c")


@pytest.mark.parametrize("status", [0, 3])
def test_run_ends_as_the_command_does(podman, status):
    result = podman.run("run", "--rm", BOX, "sh", "-c", f"echo out; echo err >&2; exit {status}")
    assert (result.returncode, result.stdout, result.stderr) == (status, "out\n", "err\n")


def test_a_terminal(podman):
    with podman.terminal("run", "-it", "--rm", BOX, "sh") as terminal:
        terminal.sendline("tty; until stty size 2>/dev/null | grep 12; do sleep 0.1; done; exit 4")
        terminal.expect(r"/dev/pts/0\s+12 34\s")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 4


def test_logs(started):
    assert started.do("logs", "c") == "began\n"


def test_exec(started):
    assert started.do("exec", "c", "sh", "-c", "hostname; echo $$").split()[0] == started.do(
        "inspect", "--format", "{{.Config.Hostname}}", "c").strip()
    assert started.run("exec", "c", "sh", "-c", "exit 5").returncode == 5
    with started.terminal("exec", "-it", "c", "sh") as terminal:
        terminal.sendline("tty; exit 6")
        terminal.expect(r"/dev/pts/[0-9]\s")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 6
    assert "127" in str(started.run("exec", "c", "nothere").returncode)


def test_stop_and_start_again(started):
    started.do("stop", "c")
    assert started.status("c") == "exited"
    assert started.do("inspect", "--format", "{{.State.ExitCode}}", "c") == "7\n"
    started.do("start", "c")
    assert started.status("c") == "running"


def test_kill(started):
    started.do("kill", "--signal", "KILL", "c")
    assert started.do("wait", "c") == "137\n"


def test_cp(started):
    folder = started.shared("cp")
    started.do("exec", "c", "sh", "-c", "echo inside >/tmp/file")
    started.do("cp", "c:/tmp/file", folder)
    assert started.world.do("cat", f"{folder}/file") == "inside\n"
    started.do("cp", f"{folder}/file", "c:/tmp/again")
    assert started.do("exec", "c", "cat", "/tmp/again") == "inside\n"


def test_a_command_that_is_not_there(podman):
    result = podman.run("run", "--rm", BOX, "nothere")
    assert result.returncode == 127 and "nothere" in result.stderr
    assert podman.run("run", "--rm", BOX, "/etc").returncode == 126


def test_build_with_a_run(podman):
    folder = podman.shared("build")
    podman.world.do("sh", "-c", f"printf 'FROM {BOX}\\nRUN echo built >/made && id -u >>/made\\n"
                    f"CMD cat /made\\n' >{folder}/Containerfile")
    podman.do("build", "--network", "none", "--runtime", f"{podman.world.folder}/11_oci",
              "--isolation", "oci", "--tag", "made", folder)
    assert podman.out("made") == "built\n0\n"


def test_volumes(podman):
    folder = podman.shared("volume")
    podman.out("--volume", f"{folder}:/data", BOX, "sh", "-c", "echo x >/data/file")
    assert podman.out("--volume", f"{folder}:/data:ro", BOX, "cat", "/data/file") == "x\n"
    result = podman.run("run", "--rm", "--volume", f"{folder}:/data:ro", BOX, "touch", "/data/new")
    assert "Read-only" in result.stderr
    podman.out("--volume", "named:/data", BOX, "touch", "/data/kept")
    assert podman.out("--volume", "named:/data", BOX, "ls", "/data") == "kept\n"


def test_what_a_container_may(podman):
    result = podman.run("run", "--rm", "--read-only", "--user", "5:6", BOX, "sh", "-c",
                        "id -u; id -g; touch /new")
    assert result.stdout.split() == ["5", "6"] and "Read-only" in result.stderr
    # In podman 5, /dev is a read-only tmpfs then, as it is in the first container of a pod.
    assert podman.out("--read-only", "--read-only-tmpfs=false", BOX, "readlink",
                      "/dev/ptmx") == "pts/ptmx\n"
    caps = ["grep", "-e", "CapBnd", "-e", "NoNewPrivs", "-e", "Seccomp:", "/proc/self/status"]
    assert podman.out("--cap-drop", "all", "--cap-add", "kill", "--security-opt",
                      "no-new-privileges", BOX, *caps).split() == [
                          "CapBnd:", f"{1 << 5:016x}", "NoNewPrivs:", "1", "Seccomp:", "2"]
    assert podman.out("--security-opt", "seccomp=unconfined", BOX, *caps).split()[-1] == "0"
    assert podman.out("--tmpfs", "/t", "--hostname", "h", "--env", "A=b", "--workdir", "/tmp", BOX,
                      "sh", "-c", "touch /t/x; hostname; echo $A; pwd") == "h\nb\n/tmp\n"


@pytest.mark.as_shipped  # a program with sanitizers needs a loader, which the container lacks
def test_the_runtime_that_a_container_starts_is_a_copy(podman):
    """CVE-2019-5736: a command, or a link in the image, may be /proc/self/exe."""
    podman.do("create", "--name", "c", BOX, "/proc/self/exe", "--version")
    try:
        podman.do("init", "c")
        pid = podman.do("inspect", "--format", "{{.State.Pid}}", "c").strip()
        executed, hosts = podman.world.do("stat", "--dereference", "--format", "%d:%i",
                                          f"/proc/{pid}/exe", f"{podman.world.folder}/11_oci"
                                          ).split()
        assert executed != hosts
        assert podman.do("start", "--attach", "c").startswith("exe version")
    finally:
        podman.do("rm", "--force", "--time", "0", "c")


@pytest.mark.parametrize("podman", ["root"], indirect=True)  # others cannot change the file at all
def test_a_container_cannot_change_the_runtime_that_joins_it(podman):
    """CVE-2019-5736: what exec starts is a process of the container's, too."""
    runtime = podman.world.folder / "11_oci"
    before = runtime.stat()
    podman.do("run", "--detach", "--name", "c", "--cap-add", "sys_ptrace", BOX, "sh", "-c",
              "echo began; while :; do chmod 4755 /proc/[0-9]*/exe; done 2>/dev/null")
    try:
        assert wait_until(lambda: "began" in podman.do("logs", "c"))
        for _ in range(5):
            podman.do("exec", "c", "true")
    finally:
        podman.do("rm", "--force", "--time", "0", "c")
    assert runtime.stat() == before


@pytest.mark.parametrize("command, healthy", [("true", True), ("false", False)])
def test_health_checks(podman, command, healthy):
    podman.do("run", "--detach", "--name", "h", "--health-cmd", command, "--health-interval",
              "disable", BOX, "sleep", "1000")
    try:
        assert (podman.run("healthcheck", "run", "h").returncode == 0) is healthy
    finally:
        podman.do("rm", "--force", "--time", "0", "h")


# --- What needs cgroups ------------------------------------------------------------------------
# Where none of podman's can be made, it starts containers without one, see containers.conf(5).


@pytest.fixture(name="limited")
def make_limited(podman) -> Podman:
    if not podman.world.has_controllers():
        pytest.skip(NO_CONTROLLERS)
    return podman


def test_top_and_pause(started, limited):  # pylint: disable=unused-argument
    assert "trap" in started.do("top", "c", "args")
    started.do("pause", "c")
    assert started.status("c") == "paused"
    assert started.run("exec", "c", "true").returncode != 0
    started.do("unpause", "c")
    assert started.status("c") == "running"


def test_a_pod_shares_its_namespaces(limited):
    shared = ["net", "ipc", "uts", *([] if limited.user else ["pid"])]  # only root can join that
    limited.do("pod", "create", "--name", "p", "--network", "none", "--share", ",".join(shared),
               "--share-parent=false")  # see test_play_kube
    try:
        limited.do("run", "--detach", "--pod", "p", "--name", "one", BOX, "sleep", "777")
        spaces = ["sh", "-c",
                  f"for n in {' '.join(shared)} mnt; do readlink /proc/self/ns/$n; done"]
        one = limited.do("exec", "one", *spaces).split()
        two = limited.out("--pod", "p", BOX, *spaces).split()
        assert one[:-1] == two[:-1] and one[-1] != two[-1]
        assert ("777" in limited.out("--pod", "p", BOX, "ps")) is not limited.user
    finally:
        limited.do("pod", "rm", "--force", "--time", "0", "p")


YAML = f"""
apiVersion: v1
kind: Pod
metadata: {{name: played}}
spec:
  restartPolicy: Never
  containers:
  - name: a
    image: {BOX}
    imagePullPolicy: Never
    command: [sh, -c, "echo hello of $WHO; sleep 1000"]
    env: [{{name: WHO, value: yaml}}]
    securityContext: {{runAsUser: 5, readOnlyRootFilesystem: true}}
"""


def test_play_kube(limited):
    folder = limited.shared("kube")
    limited.world.do("sh", "-c", f"cat >{folder}/pod.yaml <<'END'\n{YAML}END")
    play = ["play", "kube", "--network", "none", f"{folder}/pod.yaml"]
    if not limited.user and limited.do("--version").startswith("podman version 4."):
        # Root's podman gives a pod's cgroup a rule that allows no device, so with any runtime no
        # container can be made in it.
        assert "mknod `/dev/null`: Operation not permitted" in limited.run(
            "--runtime", "crun", *play).stderr
        limited.do("pod", "rm", "--all", "--force", "--time", "0")
        return
    limited.do(*play)
    try:
        assert wait_until(lambda: limited.do("logs", "played-a") == "hello of yaml\n")
        assert limited.do("exec", "played-a", "id", "-u") == "5\n"
    finally:
        limited.do("play", "kube", "--down", f"{folder}/pod.yaml")


def test_limits(limited):
    if limited.user:
        # Without systemd, rootless podman gives no cgroup to a container: it would be one below
        # podman's own, which has processes.
        assert "cannot enable controllers for its children" in limited.run(
            "run", "--rm", "--memory", "50m", BOX, "true").stderr
        return
    assert limited.out("--memory", "50m", "--cpus", "0.5", "--pids-limit", "44", BOX, "sh", "-c",
                       "cd /sys/fs/cgroup; cat memory.max cpu.max pids.max").split() == [
                           str(50 << 20), "50000", "100000", "44"]


@pytest.mark.parametrize("podman", ["root"], indirect=True)
def test_a_container_without_memory_is_killed(limited):
    assert limited.run("run", "--rm", "--memory", "20m", BOX, "tail",
                       "/dev/zero").returncode == 137


@pytest.mark.parametrize("podman", ["root"], indirect=True)
def test_stats(limited):
    limited.do("run", "--detach", "--name", "c", BOX, "sh", "-c", "while :; do :; done")
    try:
        stats, = json.loads(limited.do("stats", "--no-stream", "--format", "json", "c"))
        assert stats["name"] == "c" and int(stats["pids"]) >= 1
        assert not stats["mem_usage"].startswith("0B")
    finally:
        limited.do("rm", "--force", "--time", "0", "c")
