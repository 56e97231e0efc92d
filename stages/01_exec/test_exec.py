"""Stage 01: what its own shell, bash of the host, does with the terminal."""

from __future__ import annotations

STAGE = "01_exec"


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


def test_the_environment_is_inherited(caller):
    environment = {**caller.environment(), "TOKEN": "x"}
    assert caller.output(STAGE, "sh", "-c", "echo $TOKEN", env=environment) == "x"
