"""What is built for another architecture is for that one, and runs: there or in an emulator."""

import os
import pathlib
import shutil
import struct
import subprocess

import pytest

# e_machine of elf(5) -> the name of the target, and what runs it on x86-64
MACHINES = {3: ("i386", None), 183: ("arm64", "qemu-aarch64")}
STAGE = "01_exec"
PROBE = pathlib.Path("harness/probe/static/probe")


def machine_of(path: pathlib.Path) -> int:
    with path.open("rb") as file:
        return struct.unpack_from("<H", file.read(64), 18)[0]


@pytest.fixture(name="program")
def _program():
    found = sorted(pathlib.Path("stages").glob(f"*/{STAGE}"))
    if not found:
        pytest.skip("no cross compiler: ./setup.sh --cross")
    return found[0]


def run(program, *words):
    _, emulator = MACHINES[machine_of(program)]
    prefix = [emulator] if emulator and os.uname().machine != "aarch64" else []
    if prefix and shutil.which(emulator) is None:
        pytest.skip(f"there is no {emulator}: ./setup.sh")
    return subprocess.run([*prefix, program, *words], check=False, capture_output=True, text=True)


def test_it_is_for_the_architecture_that_was_asked_for(program):
    for path in (program, PROBE):  # the probe is of another compilation
        architecture, _ = MACHINES[machine_of(path)]
        assert os.environ["TEST_TARGET"] == f"//bazel/cross:{architecture}_test"


def test_it_runs_a_command_and_returns_its_status(program):
    result = run(program, "sh", "-c", "echo out; exit 3")
    assert (result.stdout, result.returncode) == ("out\n", 3)


def test_a_failure_crosses_from_the_child_to_the_parent(program):
    # Exceptions unwind by a table that the linker makes for each architecture.
    result = run(program, "/no-such-command")
    assert result.returncode == 127
    assert result.stderr == f"{STAGE}: /no-such-command: No such file or directory\n"


def test_a_file_larger_than_4_gb_has_its_size(program, tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(5 << 30)
    assert run(program, "stat", "-c", "%s", path).stdout == f"{5 << 30}\n"
