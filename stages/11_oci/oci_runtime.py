"""A runtime with a bundle, for the tests of stage 11."""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from conftest import TIMEOUT

PROGRAM = pathlib.Path("stages/11_oci/11_oci").resolve()
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: --config=root")


@dataclass
class Runtime:
    """11_oci with a state folder and a bundle of the test's own."""

    folder: pathlib.Path
    config: dict
    program: list[str] = field(default_factory=lambda: [str(PROGRAM)])

    @property
    def bundle(self) -> pathlib.Path:
        return self.folder / "bundle"

    @property
    def state_root(self) -> pathlib.Path:
        return self.folder / "state"

    def words(self, *words: str) -> list[str]:
        return [*self.program, "--root", str(self.state_root), *map(str, words)]

    def call(self, *words: str, **how) -> subprocess.CompletedProcess:
        how = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE,
               "text": True, "timeout": TIMEOUT, "check": False, **how}
        if "input" in how:
            del how["stdin"]
        return subprocess.run(self.words(*words), **how)

    def do(self, *words: str, **how) -> str:
        result = self.call(*words, **how)
        assert result.returncode == 0, result.stderr
        return result.stdout

    def refused(self, *words: str) -> str:
        """stderr of a command that must fail as an engine expects it."""
        result = self.call(*words)
        assert result.returncode == 1, (result.returncode, result.stderr)
        assert result.stdout == ""
        return result.stderr

    def write_config(self) -> None:
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    def joins(self, pid: int, *kinds: str) -> None:
        """The next container shares these namespaces with `pid`; the kinds are config.json's."""
        for namespace in self.config["linux"]["namespaces"]:
            if namespace["type"] in kinds:
                name = {"network": "net"}.get(namespace["type"], namespace["type"])
                namespace["path"] = f"/proc/{pid}/ns/{name}"

    def create(self, name: str = "c", *words: str) -> int:
        """The number of the container's process."""
        self.write_config()
        # Its output stays open in the container, so it is a file.
        with open(self.folder / "output", "w", encoding="utf-8") as output:
            result = subprocess.run(self.words("create", "--bundle", self.bundle, "--pid-file",
                                               self.folder / "pid", *words, name),
                                    stdin=subprocess.DEVNULL, stdout=output,
                                    stderr=subprocess.STDOUT, timeout=TIMEOUT, check=False)
        assert result.returncode == 0, self.output()
        return int((self.folder / "pid").read_text())

    def output(self) -> str:
        return (self.folder / "output").read_text(encoding="utf-8")

    def state(self, name: str = "c") -> dict:
        return json.loads(self.do("state", name))

    def status(self, name: str = "c") -> str:
        return self.state(name)["status"]

    def run(self, *args: str, **how) -> subprocess.CompletedProcess:
        """`args` as the command of a container."""
        if args:
            self.config["process"]["args"] = list(args)
        self.write_config()
        return self.call("run", "--bundle", self.bundle, "c", **how)

    def leftovers(self) -> list[str]:
        return sorted(os.listdir(self.state_root)) if self.state_root.exists() else []


@pytest.fixture(name="runtime")
def make_runtime(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runtime]:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="oci-", dir="/tmp"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    bundle = folder / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    with tarfile.open("rootfs/rootfs.tar") as tar:
        tar.extractall(bundle / "rootfs")
    subprocess.run([PROGRAM, "spec", "--bundle", bundle], check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"]["terminal"] = False
    config["process"]["args"] = ["sleep", "1000"]
    # Rules for devices need cgroup v2, which a test of its own looks at.
    del config["linux"]["resources"]
    runtime = Runtime(folder, config)
    yield runtime
    for name in runtime.leftovers():
        subprocess.run(runtime.words("delete", "--force", name), check=False, timeout=TIMEOUT)
    shutil.rmtree(folder)
