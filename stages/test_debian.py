"""A Debian that debootstrap made, as the root. It takes the network and half a minute to make."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def debian() -> Iterator[pathlib.Path]:
    folder = pathlib.Path(tempfile.mkdtemp(prefix="debian-", dir="/tmp"))
    if os.geteuid() != 0:
        pytest.skip("debootstrap needs root")
    subprocess.run(["debootstrap", "--variant=minbase", "bookworm", folder / "tree"],
                   check=True, stdin=subprocess.DEVNULL,
                   env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    folder.chmod(0o755)
    yield folder / "tree"
    shutil.rmtree(folder)


@pytest.mark.stages_from(2)
def test_apt_get_runs(any_stage, debian):
    shown = any_stage.output("--rootfs", debian, "apt-get", "--version")
    assert shown.startswith("apt 2.")


@pytest.mark.stages_from(2)
def test_a_bash_session(any_stage, debian):
    terminal = any_stage.caller.terminal(any_stage.name, "--rootfs", str(debian), "-e",
                                         "PS1=debian$\\ ", "bash", "--norc")
    for line, answer in {
            "cat /etc/debian_version": "12.",
            "echo $((6 * 7))": "42",
            "dpkg -s bash | grep ^Status": "Status: install ok installed",
            "sleep 0.1 & wait $! && echo waited": "waited",
    }.items():
        terminal.expect_exact("debian$ ")
        terminal.sendline(line)
        terminal.expect_exact("\r\n")
        terminal.expect_exact(answer)
    terminal.sendline("exit 5")
    terminal.expect_exact("host$ ")
    terminal.sendline("echo status $?")
    terminal.expect_exact("status 5\r\n")
    terminal.close(force=True)
