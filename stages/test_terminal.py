"""What a user sees who types at an interactive shell, in every stage."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from conftest import children_of, descendants_of, name_of, wait_until
from jobs import foreground_is, job_is, job_of

# Of 09 and 10, on a host whose security module does not confine the container.
UNCONFINED = re.compile(r"(09_lsm|10_ebpf): the container is not confined by a security module: .*"
                        r"\n(hint: .*\n)?")
PROMPTS = {"01_exec": "inner[$] "}  # the host's sh; from 02 on the built-in root's says the stage


@pytest.fixture
def shell(any_stage):
    """A shell in the stage, in a terminal; it has shown its prompt."""
    words = ["-e", "PS1=inner$\\ ", "/bin/sh"] if any_stage.number == 1 else ["/bin/sh"]
    terminal = any_stage.caller.terminal(any_stage.name, *words)
    terminal.inner = PROMPTS.get(any_stage.name, rf"{any_stage.name}:/[#$] ")
    terminal.expect(terminal.inner)
    yield terminal
    terminal.close(force=True)


@pytest.mark.stages_from(2)  # in 01 it is the host's own shell
def test_the_prompt_shows_the_stage_and_the_folder(any_stage, shell):
    shell.sendline("cd /tmp")
    shell.expect(rf"{any_stage.name}:/tmp[#$] ")


def test_exit_gives_its_status_and_the_outer_shell_back(shell):
    shell.sendline("exit 3")
    shell.expect_exact("host$ ")
    shell.sendline("echo status $?")
    shell.expect_exact("status 3\r\n")


def test_end_of_input_leaves_the_shell(shell):
    shell.sendeof()
    shell.expect_exact("host$ ")


def test_ctrl_c_ends_the_command_and_not_the_container(shell):
    shell.sendline("sleep 1000")
    shell.expect_exact("sleep 1000\r\n")
    foreground_is(shell, "sleep")
    shell.sendintr()
    shell.expect(shell.inner)
    shell.sendline("echo status $?")
    shell.expect_exact("status 130\r\n")


def test_the_window_has_its_size_and_learns_of_a_new_one(shell):
    shell.sendline("stty size")
    shell.expect_exact("30 100\r\n")
    shell.setwinsize(40, 120)
    shell.expect(shell.inner)
    shell.sendline("stty size")
    shell.expect_exact("40 120\r\n")


@pytest.mark.stages_from(2)  # in 01 it is the host's sh, which may be one without
def test_job_control_works(shell):
    shell.sendline("sleep 1000")
    shell.expect_exact("sleep 1000\r\n")
    foreground_is(shell, "sleep")
    shell.send("\x1a")  # Ctrl-Z
    shell.expect("Stopped")
    shell.expect(shell.inner)
    shell.sendline("jobs")
    shell.expect("Stopped +sleep 1000")
    shell.expect(shell.inner)
    shell.sendline("fg")
    foreground_is(shell, "sleep")
    shell.sendintr()
    shell.expect(shell.inner)


def test_the_terminal_is_sane_after_the_container_was_killed(any_stage, shell):
    shell.sendline("stty raw -echo; echo set")
    shell.expect_exact("\nset")  # not what we typed
    stage, = children_of(shell.pid)
    os.kill(children_of(stage)[0], signal.SIGKILL)
    shell.expect_exact("host$ ")
    shell.sendline("echo status $?; stty -a")
    shell.expect_exact("status 137\r\n")
    shell.expect(r"\sicanon\s.*\secho\s")


def test_docker_runs_it_and_rm_change_nothing(any_stage):
    terminal = any_stage.caller.terminal(any_stage.name, "-it", "--rm", "echo", "$((40 + 2))nd")
    terminal.expect_exact("42nd\r\n")
    terminal.close(force=True)


def test_ctrl_c_ends_a_command_that_is_no_shell(any_stage):
    """From stage 04 on it is PID 1, which the kernel shields: the third Ctrl-C kills it."""
    terminal = any_stage.caller.terminal(any_stage.name, "sleep", "1000")
    foreground_is(terminal, "sleep")
    terminal.sendintr()
    if any_stage.number >= 4:
        terminal.expect("PID 1 has no handler for SIGINT")
        for _ in range(2):
            time.sleep(0.5)  # two that wait are one: signals of a kind do not queue
            terminal.sendintr()
    terminal.expect_exact("host$ ")
    terminal.sendline("echo status $?")
    terminal.expect(r"status (\d+)\r\n")
    assert int(terminal.match.group(1)) == (137 if any_stage.number >= 4 else 130)
    terminal.close(force=True)


@pytest.mark.stages_from(4)
def test_with_init_one_ctrl_c_is_enough(any_stage):
    terminal = any_stage.caller.terminal(any_stage.name, "--init", "sleep", "1000")
    foreground_is(terminal, "sleep")
    terminal.sendintr()
    terminal.expect_exact("host$ ")
    assert "handler" not in terminal.before
    terminal.sendline("echo status $?")
    terminal.expect_exact("status 130\r\n")
    terminal.close(force=True)


def test_a_pager_behind_it_keeps_the_terminal(any_stage):
    """`stage -- command | less`: another process of our group reads the keys."""
    terminal = any_stage.caller.terminal("")
    program = any_stage.caller.program(any_stage.name)
    terminal.sendline(f"{program} echo hello | (cat; read -r key </dev/tty; echo got $key)")
    terminal.expect_exact("hello\r\n")
    terminal.sendline("k")
    terminal.expect_exact("got k\r\n")
    terminal.close(force=True)


@pytest.mark.parametrize("options", ["", "--init"])
@pytest.mark.parametrize("command", ["sleep 1000", "cat"])
def test_ctrl_z_stops_the_container_and_gives_the_terminal_back(any_stage, command, options):
    if any_stage.number < 4:
        options = ""
    terminal = any_stage.caller.terminal(any_stage.name, options, command)
    foreground_is(terminal, command.split()[0])
    terminal.send("\x1a")
    terminal.expect("Stopped")
    terminal.expect_exact("host$ ")
    terminal.sendline("echo for the $((40 + 2))nd shell")  # not for the container's cat
    terminal.expect_exact("for the 42nd shell\r\n")
    inside = [pid for pid in descendants_of(terminal.pid) if name_of(pid) == command.split()[0]]
    # A signal from another process arrives when the kernel next runs the one that it is for.
    assert inside and wait_until(lambda: all(job_of(pid).state == "T" for pid in inside))
    terminal.sendline("fg")
    foreground_is(terminal, command.split()[0])
    if command == "cat":
        terminal.sendline("hello")
        terminal.expect_exact("hello\r\nhello\r\n")
        terminal.sendeof()
        terminal.expect_exact("host$ ")
    terminal.close(force=True)


def test_a_container_in_the_background_stops_when_it_reads_the_terminal(any_stage):
    terminal = any_stage.caller.terminal("")
    terminal.sendline(f"{any_stage.caller.program(any_stage.name)} cat &")
    terminal.expect_exact("host$ ")
    assert wait_until(lambda: [job_of(pid).state for pid in descendants_of(terminal.pid)
                               if name_of(pid) == "cat"] == ["T"])
    job_is(terminal, "Stopped")
    terminal.sendline("fg")
    foreground_is(terminal, "cat")
    terminal.sendline("hello")
    terminal.expect_exact("hello\r\nhello\r\n")
    terminal.sendeof()
    terminal.expect_exact("host$ ")
    terminal.close(force=True)


def test_a_container_in_the_background_runs_while_it_does_not_read(any_stage):
    terminal = any_stage.caller.terminal("")
    terminal.sendline(f"{any_stage.caller.program(any_stage.name)} sleep 1000 &")
    terminal.expect_exact("host$ ")
    assert wait_until(lambda: "sleep" in map(name_of, descendants_of(terminal.pid)))
    job_is(terminal, "Running")
    terminal.sendline("kill -KILL %1")
    terminal.close(force=True)


def test_the_middle_of_a_pipeline_ends_with_it(any_stage):
    terminal = any_stage.caller.terminal("")
    program = any_stage.caller.program(any_stage.name)
    terminal.sendline(f"yes | {program} cat | head -n 1; echo status $?")
    terminal.expect_exact("y\r\n")
    terminal.expect_exact("status 0\r\n")
    terminal.close(force=True)


def test_a_shell_whose_output_goes_elsewhere_gets_the_keys(any_stage):
    """`stage sh | tee log`: it is lent the terminal when it asks for it."""
    terminal = any_stage.caller.terminal("")
    terminal.sendline(f"{any_stage.caller.program(any_stage.name)} sh | cat")
    assert wait_until(lambda: "cat" in map(name_of, descendants_of(terminal.pid)))
    terminal.sendline("echo $((6 * 7))nd")
    terminal.expect_exact("42nd\r\n")
    terminal.sendline("exit")
    terminal.expect_exact("host$ ")
    terminal.close(force=True)


@pytest.mark.parametrize("options", ["", "--init"])
def test_closing_the_terminal_ends_the_container(any_stage, options):
    if any_stage.number < 4:
        options = ""
    terminal = any_stage.caller.terminal(any_stage.name, options, "sleep", "1000")
    foreground_is(terminal, "sleep")
    all_of_it = descendants_of(terminal.pid)
    terminal.close(force=False)
    assert wait_until(lambda: not any(map(name_of, all_of_it))), list(map(name_of, all_of_it))


def test_nothing_is_printed_but_what_the_command_prints(any_stage):
    terminal = any_stage.caller.terminal(any_stage.name, "echo", "hello")
    terminal.expect_exact("host$ ")
    shown = re.sub(r"\x1b\[[?0-9;]*\w", "", terminal.before)  # bash's bracketed paste
    shown = UNCONFINED.sub("", shown.replace("\r", ""))
    assert shown.strip("\n").split("\n")[1:] == ["hello"]
    terminal.close(force=True)
