"""A row of the property table, through podman."""

from __future__ import annotations

import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from harness.conformance import places, properties
from harness.escapes.classes import Escape


@pytest.fixture(name="folder")
def make_folder() -> Iterator[pathlib.Path]:
    """One that the harness's agent shows to what it starts; /tmp there is another one."""
    with tempfile.TemporaryDirectory(dir=".") as name:
        yield pathlib.Path(name).resolve()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: --config=root")
def test_the_runtimes_have_a_null_device_that_is_not_the_machines(folder, monkeypatch, capfd):
    """crun gives what it has as stdin to the container's user."""
    crun = shutil.which("crun")
    if crun is None or shutil.which("podman") is None or shutil.which("catatonit") is None:
        pytest.skip("podman, crun or catatonit is not installed: ./setup.sh --engines")
    machines = os.stat("/dev/null")
    script = folder / "crun"
    script.write_text("#!/bin/sh\n"
                      f"test $(stat -c %d:%i /dev/null) != {machines.st_dev}:{machines.st_ino} &&\n"
                      f'exec {crun} "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    assert places.run_inside("properties", ["init_is_pid_1"]) == 0
    assert "| hold | 1 | 1 |" in capfd.readouterr().out


@pytest.mark.parametrize("marks, expected", [
    ({"a": "+", "b": "+"}, "+"), ({"a": "+", "b": "n/a"}, "+"), ({"a": "+", "b": "ERR"}, "ERR"),
    ({"a": "ERR", "b": "FAIL"}, "FAIL"), ({"a": "n/a", "b": "skip"}, "skip"), ({"a": "+"}, "+"),
    ({"c": "FAIL"}, "")])
def test_a_class_is_stopped_if_none_of_its_rows_is_seen_violated(marks, expected):
    escape = Escape("name", "attempt", "layer", rows=("a", "b"))
    assert properties.mark_of(escape, marks) == expected
