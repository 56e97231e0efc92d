"""The command that shows and prunes the cache."""

from __future__ import annotations

import fcntl
import os
import pathlib
import subprocess
import sys

import pytest


@pytest.fixture
def cache(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    path = tmp_path / "containers-under-the-hood"
    for name in ("rootfs-1", "layers/sha256-1/closed", "layers/tar-2", "uppers/x"):
        (path / name).mkdir(parents=True)
    (path / "rootfs-1" / "file").write_bytes(bytes(100_000))
    (path / "layers" / "sha256-1" / "closed").chmod(0o500)
    (path / "seccomp-1").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return path


def run(*words: str) -> str:
    return subprocess.run([sys.executable, "-B", "rootfs/cache.py", *words], check=True,
                          capture_output=True, text=True).stdout


def left(cache: pathlib.Path) -> list[str]:
    return sorted(str(path.relative_to(cache)) for path in cache.glob("*") if path.name not in (
        "layers", "uppers")) + sorted(str(path.relative_to(cache)) for path in cache.glob("*s/*"))


def test_show(cache):
    lines = run("show").splitlines()
    assert [line.split()[-1] for line in lines[:-1]] == [
        "layers/sha256-1", "layers/tar-2", "rootfs-1", "seccomp-1", "uppers/x"]
    assert "0.1 MiB" in next(line for line in lines if "rootfs-1" in line)
    assert lines[-1].endswith(str(cache))
    assert len(left(cache)) == 5


def test_prune_removes_all_that_is_not_in_use(cache):
    used = os.open(cache / "layers" / "tar-2", os.O_RDONLY)
    fcntl.flock(used, fcntl.LOCK_SH)  # as the parent of a container does
    assert "tar-2" in next(line for line in run("show").splitlines() if "in use" in line)
    run("prune")
    assert left(cache) == ["layers/tar-2"]
    os.close(used)
    run("prune")
    assert left(cache) == []
    assert "0.0 MiB" in run("prune")


def test_prune_leaves_what_is_new(cache):
    run("prune", "--older-than", "1")
    assert len(left(cache)) == 5


@pytest.mark.skipif(os.geteuid() != 0, reason="changes its root directory: needs root")
def test_prune_leaves_the_root_of_a_process(cache):
    """As of a container of the stages before 08a; one has changed its root, one has mounted it."""
    root = cache / "rootfs-1"
    (root / "bin").mkdir()
    (root / "bin" / "busybox").write_bytes(pathlib.Path("/bin/busybox").read_bytes())
    (root / "bin" / "busybox").chmod(0o755)
    changed = subprocess.Popen(["/usr/sbin/chroot", root, "/bin/busybox", "sleep", "60"])
    run("prune")
    assert left(cache) == ["rootfs-1"]
    changed.kill()
    changed.wait()
    script = f"mount --bind {root} /mnt && echo ready && exec sleep 60"
    mounted = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], stdout=subprocess.PIPE)
    assert mounted.stdout.readline() == b"ready\n"
    run("prune")
    assert left(cache) == ["rootfs-1"]
    mounted.kill()
    mounted.wait()
    run("prune")
    assert left(cache) == []


def test_where_there_is_no_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert run("show").startswith("there is nothing in")
