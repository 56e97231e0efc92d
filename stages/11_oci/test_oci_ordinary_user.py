"""An ordinary user's containers, without an engine: what the user namespace allows, and no more."""

from __future__ import annotations

import json
import pathlib
import shutil
import tarfile
from collections.abc import Iterator

import pytest
from conftest import Caller, give_to, wait_until
from oci_runtime import PROGRAM

STAGE = "11_oci"


class Containers:
    """The runtime, a bundle and a state folder, all of them a user's."""

    def __init__(self, user: Caller) -> None:
        self.user = user
        self.bundle = user.home / "bundle"
        self.bundle.mkdir()
        program = pathlib.Path(user.program(STAGE))  # where the user may read it
        program.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PROGRAM, program)
        with tarfile.open("rootfs/rootfs.tar") as tar:
            tar.extractall(self.bundle / "rootfs")
        for path in (self.bundle, *self.bundle.rglob("*")):
            if not path.is_symlink():
                give_to(user, path)

    def call(self, *words: str, **how):
        return self.user.run(STAGE, "--root", str(self.user.home / "state"), *words, **how)

    def do(self, *words: str, **how) -> str:
        result = self.call(*words, **how)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def configure(self, *options: str, command: str = "sleep 1000", **more) -> None:
        """What `spec` writes, with another command."""
        path = self.bundle / "config.json"
        path.unlink(missing_ok=True)
        self.do("spec", *options, "--bundle", str(self.bundle))
        config = json.loads(path.read_text())
        config["process"].update(terminal=False, args=["sh", "-c", command])
        config["mounts"] += more.get("mounts", [])
        path.write_text(json.dumps(config))

    def run(self) -> str:
        return self.do("run", "--bundle", str(self.bundle), "c")


@pytest.fixture(name="containers")
def make_containers(user: Caller) -> Iterator[Containers]:
    containers = Containers(user)
    yield containers
    containers.call("delete", "--force", "c")
    shutil.rmtree(containers.bundle)


def test_without_a_user_namespace_it_is_refused_with_a_hint(containers):
    containers.configure()
    result = containers.call("run", "--bundle", str(containers.bundle), "c")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines() == [
        f"{STAGE}: linux.namespaces: an ordinary user's container needs a user namespace",
        "hint: `spec --rootless` writes a config that has one"]
    assert json.loads(containers.do("list", "--format", "json") or "null") in (None, [])


def test_what_spec_writes_for_a_user_runs_as_root_of_the_users_id(containers):
    containers.configure("--rootless", command="id -u; cat /proc/self/uid_map; touch /x;"
                         " echo 1 >/proc/sys/kernel/panic; echo x >/dev/full")
    result = containers.call("run", "--bundle", str(containers.bundle), "c")
    assert result.stdout.split()[:4] == ["0", "0", str(containers.user.uid), "1"]
    assert [line.split(": ")[-1] for line in result.stderr.splitlines()] == [
        "Read-only file system", "Read-only file system", "No space left on device"]


def test_its_life_is_that_of_any_container(containers, tmp_path):
    containers.configure("--rootless")
    with open(tmp_path / "output", "w", encoding="utf-8") as output:
        created = containers.call("create", "--bundle", str(containers.bundle), "c", stdout=output,
                                  stderr=output)
    assert created.returncode == 0, (tmp_path / "output").read_text()
    state = json.loads(containers.do("state", "c"))
    assert state["status"] == "created"
    status = pathlib.Path(f"/proc/{state['pid']}/status").read_text()
    assert f"\nUid:\t{containers.user.uid}\t" in status
    containers.do("start", "c")
    assert containers.do("exec", "c", "id", "-u") == "0\n"
    containers.do("kill", "c", "KILL")
    assert wait_until(lambda: json.loads(containers.do("state", "c"))["status"] == "stopped")
    containers.do("delete", "c")
    assert containers.call("state", "c").returncode == 1


def test_it_gets_the_users_files_and_nobody_elses(containers):
    own = containers.user.home / "own"
    own.write_text("mine\n")
    give_to(containers.user, own)
    containers.configure("--rootless", command="cat /mnt/own; cat /mnt/shadow", mounts=[
        {"destination": "/mnt/own", "source": str(own), "options": ["bind", "ro"]},
        {"destination": "/mnt/shadow", "source": "/etc/shadow", "options": ["bind", "ro"]}])
    result = containers.call("run", "--bundle", str(containers.bundle), "c")
    assert result.stdout == "mine\n"
    assert result.stderr.splitlines() == ["cat: can't open '/mnt/shadow': Permission denied"]


def test_a_directory_that_the_user_may_not_enter_is_no_source(containers):
    containers.configure("--rootless", mounts=[
        {"destination": "/mnt", "source": "/proc/1/root", "options": ["bind"]}])
    result = containers.call("run", "--bundle", str(containers.bundle), "c")
    assert result.returncode == 1
    assert result.stderr.endswith("mounts[7].source: /proc/1/root: Permission denied\n")
