"""What the tests of layers and of images share: a root directory, tars, layouts of images."""

from __future__ import annotations

import os
import pathlib
import re
import secrets
import shutil
import subprocess
import sys

import pytest
from conftest import give_to, remove

sys.path.append(os.getcwd())
from harness import oci_layout as oci  # noqa: E402  # pylint: disable=wrong-import-position

STAGE = "08a_overlayfs"


@pytest.fixture
def cache(caller):
    """The folder of unpacked layers. What a test adds to it is removed."""
    path = caller.cache / "layers"
    before = names_in(path)
    yield path
    for name in names_in(path) - before:
        remove(path / name)


def names_in(path: pathlib.Path) -> set[str]:
    return set(os.listdir(path)) if path.exists() else set()


@pytest.fixture
def tree(caller, folder) -> pathlib.Path:
    """A small root directory of the caller's."""
    path = folder / "tree"
    for name in ("bin", "data", "data/deep", "tmp"):
        (path / name).mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), path / "bin" / "busybox")
    for applet in ("sh", "cat", "ls", "mv", "rm", "chmod", "mkdir", "stat", "sleep", "id", "pwd"):
        os.symlink("busybox", path / "bin" / applet)
    for name in ("one", "two", "three", "deep/four"):
        (path / "data" / name).write_text(f"{name} below\n")
    give_to(caller, path)
    return path


def write(caller, path: pathlib.Path, content: bytes) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    give_to(caller, path)
    return path


def write_layout(caller, path: pathlib.Path, files: dict[str, bytes]) -> pathlib.Path:
    for name, content in files.items():
        write(caller, path / name, content)
    give_to(caller, path)
    return path


def zstd(content: bytes) -> bytes:
    return subprocess.run(["zstd", "-q"], input=content, check=True, capture_output=True).stdout


def new_tar(*entries: oci.Entry) -> bytes:
    """A layer that no cache contains, not even after an earlier run was killed."""
    return oci.tar(*entries, oci.entry("new", secrets.token_bytes(16)))


def refused(result: subprocess.CompletedProcess, message: str, hint: str = "") -> None:
    """Status 125, one line that says why, and perhaps one that says what to do."""
    assert result.returncode == 125, result
    first, *hints = result.stderr.splitlines()
    assert re.search(message, first), first
    assert len(hints) <= 1 and all(line.startswith("hint: ") for line in hints)
    assert re.search(hint, "".join(hints)), result.stderr


@pytest.fixture
def folder_of_root(root, tmp_path):
    cache = root.cache / "layers"
    before = names_in(cache)
    yield tmp_path
    for name in names_in(cache) - before:
        remove(cache / name)
