"""Stage 01: what its own shell, bash of the host, does with the terminal."""

from __future__ import annotations

import os
import pathlib
import signal
import struct
import time

import pytest
from conftest import TIMEOUT, Terminal, children_of, descendants_of, name_of, wait_until

STAGE = "01_exec"


def state_of(pid: int) -> str:
    """See proc(5): "T" is stopped, "S" sleeps."""
    return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]


def test_a_shell_that_suspends_itself_gives_the_terminal_back(caller):
    terminal = caller.terminal(STAGE, "-e", "PS1=inner$\\ ", "bash", "--norc", "--noprofile", "-i")
    terminal.expect_exact("inner$ ")
    terminal.sendline("suspend")
    terminal.expect("Stopped")
    terminal.expect_exact("host$ ")
    terminal.sendline("fg")
    terminal.sendline("exit 4")
    terminal.expect_exact("inner$ ")
    terminal.expect_exact("host$ ")
    terminal.sendline("echo status $?")
    terminal.expect_exact("status 4\r\n")
    terminal.close(force=True)


def check_that_it_stops_and_goes_on(terminal: Terminal) -> None:
    terminal.expect("Stopped")
    terminal.expect_exact("host$ ")
    terminal.sendline("fg")
    terminal.expect_exact("host$ ")
    terminal.sendline("echo status $?")
    terminal.expect_exact("status 4\r\n")
    terminal.close(force=True)


def test_a_command_that_stops_only_itself_gives_the_terminal_back(caller):
    terminal = caller.terminal(STAGE, "sh", "-c", "'kill -STOP $$; exit 4'")
    check_that_it_stops_and_goes_on(terminal)


@pytest.mark.as_shipped
def test_a_command_that_stops_before_its_parent_looks_is_stopped(caller):
    """The parent continues a command that has read from the terminal too early, and no other."""
    terminal = caller.terminal("")
    terminal.sendline("strace -DD -o /dev/null -e inject=setpgid:delay_enter=500000:when=1 "
                      f"{caller.program(STAGE)} sh -c 'kill -STOP $$; exit 4'")
    check_that_it_stops_and_goes_on(terminal)


def test_what_reads_in_a_group_that_no_shell_looks_after_is_killed(caller, folder):
    """The kernel stops no such group, and nobody would bring it to the foreground."""
    terminal = caller.terminal("")
    reader = f"sleep 1; {caller.program(STAGE)} cat </dev/tty; echo $? >{folder}/status"
    terminal.sendline(f"( ({reader}) & )")
    assert wait_until(lambda: (folder / "status").exists() and (folder / "status").read_text())
    assert (folder / "status").read_text() == f"{128 + signal.SIGKILL}\n"
    terminal.close(force=True)


def test_the_sentinel_leaves_no_core_file(user):
    """The files in /proc of a process that dumps no core belong to root, see proc(5)."""
    terminal = user.terminal(STAGE, "sleep", "1000")
    assert wait_until(lambda: [
        os.stat(f"/proc/{pid}/environ").st_uid for pid in descendants_of(terminal.pid)
        if name_of(pid) == STAGE].count(0) == 1)
    terminal.close(force=True)


def test_without_a_terminal_a_command_that_stops_is_alone(caller):
    """If the stage stopped, too, no shell would continue it."""
    with caller.start(STAGE, "sh", "-c", "kill -STOP $$; exit 7") as process:
        assert wait_until(lambda: state_of(process.child()) == "T")
        assert children_of(process.pid) == [process.child()]
        time.sleep(0.1)
        assert state_of(process.pid) == "S"
        os.kill(process.child(), signal.SIGCONT)
        assert process.wait(TIMEOUT) == 7


@pytest.mark.as_shipped
def test_a_parent_that_fails_kills_its_child(caller):
    fault = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=signalfd4:error=EMFILE"]
    with caller.start(STAGE, "sleep", "1000", before=fault) as process:
        assert process.wait(TIMEOUT) == 125


def test_a_file_of_variables_may_be_of_one_mebibyte(caller, folder):
    file = folder / "variables"
    for size, status in ((1 << 20, 0), ((1 << 20) + 1, 125)):
        file.write_text("#" * (size - len("\nTOKEN=x\n")) + "\nTOKEN=x\n")
        result = caller.run(STAGE, "--env-file", file, "sh", "-c", "echo $TOKEN")
        assert (result.returncode, result.stdout) == (status, "" if status else "x\n")
    assert "is larger than 1 MiB" in result.stderr


def test_the_environment_is_inherited(caller):
    environment = {**caller.environment(), "TOKEN": "x"}
    assert caller.output(STAGE, "sh", "-c", "echo $TOKEN", env=environment) == "x"


def elf_with_loader(bits: int, loader: bytes) -> bytes:
    """A program that the kernel refuses to start before it looks at more than the loader's name."""
    machine = {"x86_64": {64: 62, 32: 3}, "aarch64": {64: 183, 32: 40}}[os.uname().machine][bits]
    head = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9) + struct.pack("<HHI", 2, machine, 1)
    name = loader + b"\0"
    if bits == 32:
        at = 52 + 32
        segment = struct.pack("<IIIIIIII", 3, at, at, at, len(name), len(name), 4, 1)
        return head + struct.pack("<IIIIHHHHHH", 0, 52, 0, 0, 52, 32, 1, 0, 0, 0) + segment + name
    at = 64 + 56
    segment = struct.pack("<IIQQQQQQ", 3, 4, at, at, at, len(name), len(name), 1)
    return head + struct.pack("<QQQIHHHHHH", 0, 64, 0, 0, 64, 56, 1, 0, 0, 0) + segment + name


@pytest.mark.parametrize("bits", [64, 32])
def test_the_loader_that_is_missing_is_named_for_programs_of_both_sizes(caller, folder, bits):
    program = folder / "program"
    program.write_bytes(elf_with_loader(bits, b"/lib/no-such-loader.so"))
    program.chmod(0o755)
    result = caller.run(STAGE, program)
    assert result.returncode == 127
    assert result.stderr.splitlines()[0] == (
        f"{STAGE}: {program} exists, but its interpreter does not: /lib/no-such-loader.so")


def test_a_script_with_the_line_ends_of_windows_is_named(caller, folder):
    script = folder / "script"
    script.write_bytes(b"#!/bin/sh\r\necho hi\r\n")
    script.chmod(0o755)
    result = caller.run(STAGE, script)
    assert result.returncode == 127
    assert result.stderr.splitlines()[0] == (
        f"{STAGE}: {script} begins with #!/bin/sh\\r: its lines end with \\r\\n, as on Windows")
