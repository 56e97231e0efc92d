"""From stage 06 on the container's terminal is its own, and the caller's is restored."""

from __future__ import annotations

import hashlib
import os
import pathlib
import re
import signal
import stat
import termios
import time

import pexpect
import pytest
from conftest import children_of, descendants_of, name_of, wait_until
from jobs import foreground_is, job_is, job_of

pytestmark = pytest.mark.stages_from(6)


@pytest.fixture
def outer(any_stage):
    """A shell in a terminal, and how the stage is called in it."""
    terminal = any_stage.caller.terminal("")
    terminal.stage = any_stage.caller.program(any_stage.name)
    yield terminal
    terminal.close(force=True)


def command_in(outer: pexpect.spawn, name: str) -> int:
    """The process inside that executes `name`, by its number on the host."""
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [pid for pid in descendants_of(outer.pid) if name_of(pid) == name]
        return bool(found)
    assert wait_until(is_there)
    return found[-1]


def device_of(pid: int, fd: int) -> tuple[int, int]:
    """Of two terminals that are called alike the file systems differ."""
    st = os.stat(f"/proc/{pid}/fd/{fd}")
    return st.st_dev, st.st_rdev


def is_sane(outer: pexpect.spawn) -> bool:
    modes = termios.tcgetattr(outer.child_fd)[3]
    return bool(modes & termios.ICANON and modes & termios.ECHO and modes & termios.ISIG)


def end_of(outer: pexpect.spawn, status: int = 0) -> None:
    """The outer shell has its prompt, and a terminal as before."""
    outer.expect_exact("host$ ")
    outer.sendline("echo status $?; stty -a")
    outer.expect_exact(f"status {status}\r\n")
    outer.expect(r"\sopost\s.*\sisig icanon\s.*\secho\s")
    outer.expect_exact("host$ ")


@pytest.mark.parametrize("redirected", ["", "</dev/null", "| cat", "2>/dev/null"])
def test_no_descriptor_inside_is_the_callers_terminal(outer, redirected):
    outer.sendline(f"{outer.stage} sleep 1000 {redirected}")
    pid = command_in(outer, "sleep")
    callers = device_of(outer.pid, 0)
    inside = [fd for fd in range(3) if stat.S_ISCHR(os.stat(f"/proc/{pid}/fd/{fd}").st_mode)
              and os.readlink(f"/proc/{pid}/fd/{fd}") != "/dev/null"]
    assert len(inside) == (3 if not redirected else 2)
    assert {device_of(pid, fd) for fd in inside} == {device_of(pid, inside[0])} != {callers}


def test_without_a_terminal_there_is_none_inside(any_stage):
    result = any_stage.run("sh", "-c", "tty; ls /dev/pts; ls /dev/console; echo x 2>&1 >/dev/tty")
    assert "not a tty" in result.stdout and "0" not in result.stdout.split()
    assert "/dev/console" not in result.stdout and "/dev/tty" in result.stdout + result.stderr


def test_piped_in_a_terminal_it_cannot_reach_that(outer):
    outer.sendline(f"{outer.stage} sh -c 'echo x >/dev/tty' </dev/null 2>&1 | cat")
    outer.expect_exact("can't create /dev/tty: No such device or address\r\n")
    outer.expect_exact("host$ ")
    outer.sendline(f"{outer.stage} sh -c 'echo shown >/dev/tty' </dev/null | cat")
    outer.expect(r"[\r\n]shown\r\n")  # it has its own, because its error output is a terminal
    end_of(outer)


def test_its_name_and_number_are_those_of_the_containers_own(outer):
    outer.sendline(f"{outer.stage} sh -c 'tty; ls /dev/pts; tty </dev/console; tty </dev/tty; "
                   "ps -o tty,args | grep [p]s'")
    outer.expect_exact("/dev/pts/0\r\n0     ptmx\r\n/dev/")
    end_of(outer)


def test_it_belongs_to_the_user(any_stage, outer):
    user = "-u 1000:1000" if any_stage.caller.uid == 0 else ""
    outer.sendline(f"{outer.stage} {user} sh -c 'echo out >/dev/stdout; echo err >/dev/stderr; "
                   "echo con >/dev/console; stat -c %u:%a /dev/pts/0 /dev/console; id -u'")
    uid = 1000 if user else 0
    outer.expect_exact(f"out\r\nerr\r\ncon\r\n{uid}:620\r\n{uid}:620\r\n{uid}\r\n")
    end_of(outer)


def test_the_stage_dies_of_sigkill_and_the_terminal_is_restored(any_stage, outer):
    outer.sendline(f"exec sh -c '{outer.stage} sleep 1000; sleep 2000'")  # no shell that restores
    command_in(outer, "sleep")
    assert wait_until(lambda: not is_sane(outer))
    stage, = children_of(outer.pid)
    os.kill(stage, signal.SIGKILL)
    assert wait_until(lambda: is_sane(outer))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_container_and_the_terminal_is_restored(outer, number):
    outer.sendline(f"exec sh -c '{outer.stage} --init sleep 1000; sleep 2000'")
    command_in(outer, "sleep")
    assert wait_until(lambda: not is_sane(outer))
    stage, = children_of(outer.pid)
    os.kill(stage, number)
    assert wait_until(lambda: is_sane(outer) and name_of(stage) == "")


def test_a_command_that_is_not_found_leaves_the_terminal_as_it_was(any_stage, outer):
    outer.sendline(f"{outer.stage} --verbose nothing-like-this")
    outer.expect_exact("execve(nothing-like-this)")
    outer.expect_exact("nothing-like-this")
    end_of(outer, 127)


def test_all_of_a_large_output_comes_through(outer):
    size = 20_000_000
    script = f"stty -opost; printf BEG%s IN; yes 0123456789abcde | head -c {size}; printf END"
    outer.sendline(f"{outer.stage} sh -c '{script}'")
    outer.expect_exact("BEGIN")
    first, outer.buffer = outer.buffer.encode(), ""  # what pexpect has read already
    digest, got, last = hashlib.sha256(first), len(first), b""
    start = time.monotonic()
    while got < size:
        last = os.read(outer.child_fd, min(65536, size - got))
        digest.update(last)
        got += len(last)
    sent = b"0123456789abcde\n" * (size // 16)
    assert digest.digest() == hashlib.sha256(sent).digest()
    outer.expect_exact("END")
    assert time.monotonic() - start < 20
    end_of(outer)


@pytest.mark.as_shipped  # with strace
def test_only_the_command_sets_the_modes_of_its_terminal_in_the_foreground(outer):
    """The stage would set them back if the command had set some between its look and its change."""
    file = pathlib.Path(f"/tmp/own-terminal-{os.getpid()}-{time.monotonic_ns()}")
    outer.sendline(f"strace -qq -o {file} -e trace=ioctl {outer.stage} sleep 0.5")
    outer.expect_exact("host$ ")
    calls = file.read_text(encoding="utf-8")
    file.unlink()
    of_master, = set(re.findall(r"ioctl\((\d+), TIOCSWINSZ", calls))
    changed = re.findall(r"ioctl\((\d+), .*TCSETS", calls)
    assert changed and of_master not in changed


def test_the_last_byte_comes_through(outer):
    outer.sendline(f"for i in 1 2 3 4 5 6 7 8; do {outer.stage} printf 'last-%s.' $i; done")
    outer.expect("last-1.*last-2.*last-3.*last-4.*last-5.*last-6.*last-7.*last-8[.]")
    end_of(outer)


def test_output_to_a_file_has_the_bytes_that_were_written(outer):
    file = f"/tmp/own-terminal-{os.getpid()}-{time.monotonic_ns()}"
    script = r'test -t 0 && test -t 2 && printf "a\nb\r\nc"'
    outer.sendline(f"{outer.stage} sh -c '{script}' >{file}")
    outer.expect_exact("host$ ")
    outer.sendline(f"od -c {file}; rm {file}")
    outer.expect_exact("0000000   a  \\n   b  \\r  \\n   c\r\n")


def test_input_from_a_pipe_and_output_to_a_terminal(outer):
    outer.sendline(f"printf 'x\\ny\\n' | {outer.stage} sh -c 'test -t 1 && cat && read k </dev/tty "
                   "&& echo got $k'")
    outer.expect_exact("x\r\ny\r\n")  # and not \r\r\n
    outer.sendline("key")
    outer.expect_exact("got key\r\n")
    end_of(outer)


def test_the_keys_stay_with_a_pager_while_the_container_runs(outer):
    outer.sendline(f"{outer.stage} sh -c 'echo shown; sleep 2; echo more' | "
                   "(read -r l; echo $l; stty -echo; read -r k </dev/tty; stty echo; echo got $k)")
    outer.expect_exact("shown\r\n")
    time.sleep(0.3)
    outer.sendline("key")
    outer.expect_exact("got key\r\n")
    end_of(outer)


@pytest.mark.parametrize("behind", ["", "| cat"])
def test_a_password_is_not_shown(outer, behind):
    # What is waited for must not be in the command line, which is shown, too.
    script = ("printf nam%s: e; read n; stty -echo; printf wor%s: d >&2; read p; stty echo;"
              " echo $n=$p")
    outer.sendline(f"{outer.stage} sh -c '{script}' {behind}")
    outer.expect_exact("name:")
    outer.sendline("me")
    outer.expect_exact("word:")
    assert outer.waitnoecho(20)
    outer.sendline("secret")
    outer.expect_exact("me=secret\r\n")
    assert "secret" not in outer.before
    end_of(outer)


def test_what_writes_in_the_background_is_shown_and_does_not_stop(outer):
    outer.sendline(f"{outer.stage} sh -c 'sleep 0.5; echo from there; sleep 1000' &")
    outer.expect_exact("host$ ")
    outer.expect_exact("from there\r\n")
    job_is(outer, "Running")
    outer.sendline("echo typed $((40 + 2))")
    outer.expect_exact("typed 42\r\n")


def test_a_shell_in_the_background_stops_and_works_in_the_foreground(any_stage, outer):
    outer.sendline(f"{outer.stage} sh &")
    outer.expect_exact("host$ ")
    command_in(outer, "sh")
    assert wait_until(lambda: job_of(children_of(outer.pid)[0]).state == "T")
    outer.sendline("fg")
    outer.sendline("echo $((6 * 7))nd")
    outer.expect_exact("42nd\r\n")
    outer.sendline("exit")
    end_of(outer)


def test_a_command_in_the_background_has_a_terminal_of_lines(outer):
    """Though the shell's own is raw while it waits for the next command."""
    outer.sendline(f"(sleep 1; exec {outer.stage} stty -a) &")
    outer.expect(r"\sicrnl ixon\s.*\sopost .*\sonlcr\s.*\sisig icanon iexten echo echoe echok\s")


def test_a_job_that_runs_in_the_background_gets_the_keys_in_the_foreground(outer):
    outer.sendline(f"{outer.stage} sh -c 'sleep 1; read x; echo got $x' &")
    outer.expect_exact("host$ ")
    command_in(outer, "sleep")
    outer.sendline("fg")
    foreground_is(outer, "sleep")
    outer.sendline("hello")
    outer.expect_exact("got hello\r\n")
    end_of(outer)


def test_a_stage_that_is_stopped_gives_the_terminal_back_and_takes_it_again(any_stage, outer):
    outer.sendline(f"{outer.stage} sh")
    outer.expect(rf"{any_stage.name}:/[#$] ")
    stage, = children_of(outer.pid)
    os.kill(stage, signal.SIGTSTP)
    outer.expect("Stopped")
    outer.expect_exact("host$ ")
    outer.sendline("stty -a")
    outer.expect(r"\sisig icanon\s.*\secho\s")
    outer.setwinsize(41, 121)
    outer.sendline("fg")
    assert wait_until(lambda: not is_sane(outer))
    outer.sendline("stty size; echo $((6 * 7))nd")
    outer.expect_exact("41 121\r\n42nd\r\n")
    outer.sendline("exit")
    end_of(outer)


def test_ctrl_backslash_quits_the_command(outer):
    outer.sendline(f"{outer.stage} --init sleep 1000")
    foreground_is(outer, "sleep")
    outer.send("\x1c")
    end_of(outer, 131)


def test_it_can_be_opened_again_after_all_is_closed(outer):
    outer.sendline(f"{outer.stage} sh -c 'exec <&- >&- 2>&-; sleep 0.3; echo again >/dev/tty'")
    outer.expect(r"[\r\n]again\r\n")
    end_of(outer)


def test_modes_of_the_caller_are_those_inside(outer):
    outer.sendline(f"stty intr ^A -ixon; {outer.stage} stty -a; stty sane")
    outer.expect(r"intr = \^A;.*-ixon")
    outer.expect_exact("host$ ")


def test_what_the_parent_says_begins_at_the_left(any_stage, outer):
    outer.sendline(f"{outer.stage} sleep 1000")
    foreground_is(outer, "sleep")
    outer.sendintr()
    outer.expect(r"discards it\r\nhint: .*\r\n")


def test_another_terminal_than_that_of_the_session(any_stage, outer):
    """stdin is a terminal, but in no session, or in another one."""
    master, slave = os.openpty()
    os.fchmod(slave, 0o666)
    with any_stage.start("sh", "-c", "tty; read x; echo got $x", stdin=slave, stdout=slave,
                         stderr=slave, start_new_session=True) as process:
        os.write(master, b"hello\n")
        assert process.wait(10) == 0
    shown = b""
    while b"got hello" not in shown:
        shown += os.read(master, 1000)
    assert b"/dev/pts/0" in shown and b"\r\r" not in shown
    os.close(master)
    os.close(slave)
