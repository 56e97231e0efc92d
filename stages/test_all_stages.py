"""What every stage keeps of the stages before it: the command, its status, signals, descriptors."""

from __future__ import annotations

import os
import pathlib
import re
import secrets
import select
import shutil
import signal
import stat
import struct
import tarfile
import tempfile

import pytest
from conftest import (children_of, give_to, name_of, processes_with, remove, stages_under_test,
                      wait_until)


@pytest.fixture(name="folder")
def folder_of_its_caller(any_stage):
    path = pathlib.Path(tempfile.mkdtemp(prefix="folder-", dir="/tmp"))
    give_to(any_stage.caller, path)
    yield path
    remove(path)


FORWARDED = ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"]


@pytest.mark.parametrize("status", [0, 1, 3, 125, 126, 127, 128, 130, 255])
def test_the_commands_status_is_ours(any_stage, status):
    result = any_stage.run("sh", "-c", f"exit {status}")
    assert (result.returncode, result.stdout, result.stderr) == (status, "", "")


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV"])
def test_a_signal_that_ends_the_command_becomes_128_plus_its_number(any_stage, name):
    # A process below sh, since PID 1 of a namespace cannot kill itself; sh returns 128+n, too.
    result = any_stage.run("sh", "-c", f"sh -c 'kill -{name} $$'; exit $?")
    assert result.returncode == 128 + getattr(signal, f"SIG{name}")


def test_kill_from_outside_becomes_137(any_stage):
    with any_stage.start("sh", "-c", "echo ready; while :; do sleep 0.1; done") as process:
        assert process.stdout.readline() == "ready\n"
        os.kill(process.child(), signal.SIGKILL)
        assert process.wait(30) == 137


def check_that_a_signal_is_forwarded(stage, name, *options):
    script = f"trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.05; done"
    with stage.start(*options, "sh", "-c", script) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(getattr(signal, f"SIG{name}"))
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (7, f"got {name}\n", "")


@pytest.mark.parametrize("name", FORWARDED)
def test_signals_are_forwarded(any_stage, name):
    check_that_a_signal_is_forwarded(any_stage, name)


@pytest.mark.stages_from(4)
@pytest.mark.parametrize("name", FORWARDED)
def test_signals_are_forwarded_by_init(any_stage, name):
    check_that_a_signal_is_forwarded(any_stage, name, "--init")


def test_input_and_output_are_the_commands(any_stage):
    result = any_stage.run("sh", "-c", "cat; echo to stderr >&2", input="to stdin\n")
    assert (result.stdout, result.stderr) == ("to stdin\n", "to stderr\n")


def test_no_descriptor_but_0_1_2_gets_in(any_stage):
    leaked = [os.open("/etc/passwd", os.O_RDONLY) for _ in range(3)]
    os.dup2(leaked[0], 251)
    try:
        # Stages 02 and 03 have no /proc: sh tells by redirecting from each number.
        script = "for n in $(seq 3 255); do (true <&$n) 2>/dev/null && echo $n; done; true"
        assert any_stage.output("sh", "-c", script, pass_fds=[*leaked, 251]) == ""
    finally:
        for fd in [*leaked, 251]:
            os.close(fd)


def test_closed_standard_files_do_not_become_ours(any_stage):
    def close_all() -> None:
        for fd in (0, 1):
            os.close(fd)

    script = "test ! -t 0 && cat && echo written >&2"
    result = any_stage.run("sh", "-c", script, preexec_fn=close_all, stdin=None, stdout=None)
    assert (result.returncode, result.stderr) == (0, "written\n")


def test_a_caller_that_ignores_sigchld_still_gets_the_status(any_stage):
    def ignore() -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)

    assert any_stage.run("sh", "-c", "exit 9", preexec_fn=ignore).returncode == 9


@pytest.mark.stages_from(4)  # 02 and 03 have no /proc to read it from
def test_the_callers_signal_mask_reaches_the_command_unchanged(any_stage):
    def block() -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    line = any_stage.output("grep", "SigBlk", "/proc/self/status", preexec_fn=block)
    assert int(line.split()[1], 16) == 1 << (signal.SIGUSR1 - 1)


def test_env_sets_variables(any_stage):
    out = any_stage.output("-e", "A=1", "--env", "B=two words", "-e", "C=", "sh", "-c",
                           'echo "$A/$B/${C-unset}"')
    assert out == "1/two words/"


def test_an_env_file_is_read_as_by_docker_run(any_stage, folder):
    file = folder / "environment"
    file.write_bytes(b"\xef\xbb\xbfA=1\r\n# a comment\n\n  B=two  words # \"\nTOKEN\nABSENT\nC=3")
    out = any_stage.output("-e", "C=4", "--env-file", file, "sh", "-c",
                           'echo "$A/$B/$TOKEN/${ABSENT-unset}/$C"',
                           env={**any_stage.caller.environment(), "TOKEN": "secret"})
    assert out == '1/two  words # "/secret/unset/4'


@pytest.mark.parametrize("text, message", [
    (b"A=1\n=x\n", "line 2 is not KEY=VALUE"),
    (b"A B=1", "line 1: the name of a variable has no blanks"),
    (b"#\nA=\0", "line 2 has a zero byte"),
    (b"#\n" * (2**19 + 1), "is larger than 1 MiB"),
    (None, "open(): No such file or directory"),
], ids=["no name", "blank", "zero byte", "large", "missing"])
def test_a_wrong_env_file_is_125(any_stage, folder, text, message):
    file = folder / "environment"
    if text is not None:
        file.write_bytes(text)
    result = any_stage.run("--env-file", file, "true")
    assert (result.returncode, result.stderr) == (
        125, f"{any_stage.name}: --env-file {file}: {message}\n")


def test_what_users_of_docker_type_is_accepted(any_stage):
    assert any_stage.output("-i", "--rm", "--name", "web", "echo", "-t") == "-t"
    refused = any_stage.run("-it", "--rm", "true")
    assert refused.returncode == 125
    assert refused.stderr.startswith(f"{any_stage.name}: --tty: stdin is not a terminal\nhint: ")


@pytest.mark.parametrize("option, hint", [
    ("-d", "put & at the end"), ("-dit", "put & at the end"), ("--detach", "put & at the end"),
    ("--privileged", "--cap-add"), ("--mount=x", "-v HOST:CONTAINER"), ("--net", "--network"),
])
def test_what_docker_run_has_and_no_stage_says_what_to_do_instead(any_stage, option, hint):
    refused = any_stage.run(option, "true")
    assert refused.returncode == 125
    said, instead = refused.stderr.splitlines()
    assert said == f"{any_stage.name}: unknown option {option}"
    assert instead.startswith("hint: ") and hint in instead


def test_an_option_of_a_later_stage_says_which_has_it(any_stage):
    def options_of(stage: str) -> set[str]:
        lines = any_stage.caller.output(stage, "--help").splitlines()
        return {name for line in lines for name in line.split()[:1] if line.startswith("  -")}

    own = options_of(any_stage.name)
    seen = set(own)
    for later in stages_under_test():
        if later <= any_stage.name:
            continue
        for names in sorted(options_of(later) - seen):
            for name in names.split(","):
                hint = any_stage.run(name, "true").stderr.splitlines()[-1]
                assert hint == f"hint: {later} and later stages have it", name
        seen |= options_of(later)


def test_env_without_value_takes_the_callers(any_stage):
    environment = {**any_stage.caller.environment(), "TOKEN": "secret"}
    assert any_stage.output("-e", "TOKEN", "-e", "ABSENT", "sh", "-c",
                            "echo $TOKEN ${ABSENT-unset}", env=environment) == "secret unset"


def test_workdir(any_stage):
    assert any_stage.output("-w", "/tmp", "pwd") == "/tmp"
    result = any_stage.run("--workdir", "/etc/passwd", "pwd")
    assert result.returncode == 125
    assert result.stderr.startswith(f"{any_stage.name}: ") and "Not a directory" in result.stderr


def test_a_workdir_that_is_missing_is_made(any_stage, folder):
    """As docker run does; in 01, which has the host's root, in a folder of the caller's."""
    top = str(folder) if any_stage.number == 1 else f"/tmp/{secrets.token_hex(8)}"
    shown = any_stage.output("-w", f"{top}/a/b", "sh", "-c", "pwd; ls -ld . ..", umask=0o077)
    where, *modes = shown.splitlines()
    assert where == f"{top}/a/b"
    assert [mode[:10] for mode in modes] == ["drwxr-xr-x"] * 2


@pytest.mark.parametrize("below", ["", "/../..", "/new"])
def test_the_workdir_does_not_lead_through_a_descriptor(any_stage, folder, below):
    """CVE-2024-21626: no descriptor of the host may be open when the working directory is looked
    up."""
    given = [os.open(folder, os.O_RDONLY) for _ in range(2)]
    try:
        for fd in range(3, 18):
            path = f"/proc/self/fd/{fd}{below}"
            result = any_stage.run("-w", path, "sh", "-c", "pwd -P", pass_fds=given)
            # 02 and 03 have no /proc: there it is a folder like any other, and made.
            made = any_stage.number in (2, 3) and result.stdout.startswith("/proc/self")
            assert made or (result.returncode, result.stdout) == (125, ""), (fd, result)
    finally:
        for fd in given:
            os.close(fd)
    assert list(folder.iterdir()) == []


@pytest.mark.stages_from(4)
def test_the_command_is_not_looked_up_through_a_descriptor(any_stage, folder):
    shutil.copy("/bin/busybox", folder / "true")  # static: it would run in any root
    given = [os.open(folder, os.O_RDONLY) for _ in range(2)]
    try:
        for fd in range(3, 18):
            result = any_stage.run(f"/proc/self/fd/{fd}/true", pass_fds=given)
            assert result.returncode in (126, 127), (fd, result)
    finally:
        for fd in given:
            os.close(fd)


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_the_umask_is_the_containers(any_stage, mask):
    assert any_stage.output("sh", "-c", "umask", umask=mask) == "0022"


@pytest.mark.stages_from(4)  # 02 and 03 have no /proc to read it from
def test_the_personality_is_the_containers(any_stage):
    words = ["setarch", "--addr-no-randomize"]
    assert any_stage.output("cat", "/proc/self/personality", before=words) == "00000000"


def check_that_kill_0_stays_inside(stage, name, *options):
    """The container is in a job with a script, which goes on, and with a process beside it."""
    script = ('sleep 60 & other=$!; "$@" >/dev/null; kill -0 $other && echo the script goes on; '
              'kill -KILL $other')
    # From a grandchild, since PID 1 of a namespace does not get what it sends to itself.
    inside = f"sh -c 'kill -{name} 0'; exit 0"
    with stage.start(*options, "sh", "-c", inside, before=["sh", "-c", script, "sh"],
                     start_new_session=True) as process:
        shown, _ = process.communicate(timeout=30)
    assert shown == "the script goes on\n"


@pytest.mark.parametrize("name", ["KILL", "TERM", "INT", "HUP"])
def test_kill_0_stays_inside(any_stage, name):
    """It goes to a process group, whatever PID namespaces its members are in, see kill(2)."""
    check_that_kill_0_stays_inside(any_stage, name)


@pytest.mark.stages_from(4)
@pytest.mark.parametrize("name", ["KILL", "TERM"])
def test_kill_0_stays_inside_with_init(any_stage, name):
    check_that_kill_0_stays_inside(any_stage, name, "--init")


def test_a_missing_command_is_127(any_stage):
    result = any_stage.run("no-such-command")
    assert result.returncode == 127
    assert re.fullmatch(rf"{any_stage.name}: no-such-command: not found in PATH=\S*\n",
                        result.stderr)
    result = any_stage.run("/no/such/command")
    assert result.returncode == 127
    assert result.stderr == f"{any_stage.name}: /no/such/command: No such file or directory\n"


@pytest.mark.parametrize("command, reason", [("/etc/passwd", "Permission denied"),
                                             ("/etc", "Is a directory")])
def test_what_cannot_be_executed_is_126(any_stage, command, reason):
    result = any_stage.run(command)
    assert result.returncode == 126
    assert result.stderr == f"{any_stage.name}: {command}: {reason}\n"


@pytest.mark.stages_from(2)
def test_windows_line_ends_are_named(any_stage):
    if any_stage.number >= 8:
        return  # a container must not find what an earlier one has written there
    script = r"printf '#!/bin/sh\r\necho hi\r\n' >/tmp/crlf; chmod +x /tmp/crlf"
    any_stage.output("sh", "-c", script)
    result = any_stage.run("/tmp/crlf")
    assert result.returncode == 127
    message, hint = result.stderr.splitlines()
    assert message == (f"{any_stage.name}: /tmp/crlf begins with #!/bin/sh\\r: "
                       "its lines end with \\r\\n, as on Windows")
    assert "dos2unix" in hint


@pytest.mark.stages_from(4)
def test_the_uptime_begins_with_the_container(any_stage):
    for options, uptime in (((), 0), (("--uptime", "1000000"), 1000000)):
        result = any_stage.run(*options, "cut", "-d.", "-f1", "/proc/uptime")
        assert (result.returncode, result.stderr) == (0, "")
        assert uptime <= int(result.stdout) < uptime + 60


@pytest.mark.as_shipped
@pytest.mark.stages_from(4)
def test_a_child_that_is_killed_while_it_builds_is_no_status_of_the_command(any_stage):
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=sethostname:signal=KILL"]
    result = any_stage.run("true", before=words)
    assert (result.returncode, result.stderr) == (
        125, f"{any_stage.name}: the container was killed by SIGKILL before it was built\n")


@pytest.mark.as_shipped
@pytest.mark.stages_from(5)
def test_what_the_child_has_reported_is_told_not_what_then_failed_in_the_parent(any_stage):
    """The child ends before the parent writes its id maps; the parent must not report that writing
    them failed."""
    call = "setsid" if any_stage.number >= 6 else "setpgid"
    words = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:error=EPERM"]
    for _ in range(3):
        result = any_stage.run("true", before=words)
        assert (result.returncode, result.stderr) == (
            125, f"{any_stage.name}: {call}(): Operation not permitted\n")


@pytest.mark.as_shipped
def test_a_directory_that_cannot_be_entered_is_a_failure(any_stage, folder):
    """Each single call, while the others succeed: the command must not start in another place."""
    calls = ("chdir", "fchdir", "chroot", "pivot_root")
    strace = ["strace", "-f", "-qq", "-o", str(folder / "trace")]
    words = ("-w", "/tmp", "true")
    assert any_stage.run(*words, before=[*strace, "-e", "trace=" + ",".join(calls)]).returncode == 0
    made = [line.split("(")[0].split() for line in (folder / "trace").read_text().splitlines()]
    seen = 0
    for pid, call in {(pid, call) for pid, call, *_ in made if call in calls}:
        for number in range(1, made.count([pid, call]) + 1):
            inject = f"inject={call}:error=EIO:when={number}"
            result = any_stage.run(*words, before=[*strace, "-e", inject])
            assert (result.returncode, "Input/output error" in result.stderr) == (125, True), inject
            seen += 1
    assert seen > 0


def test_a_workdir_that_is_a_file_is_named(any_stage):
    result = any_stage.run("-w", "/etc/passwd", "true")
    assert result.returncode == 125
    assert re.search("/etc/passwd.*: Not a directory", result.stderr), result.stderr


@pytest.mark.stages_from(4)
def test_a_workdir_in_proc_makes_no_folder_in_the_root(any_stage, folder):
    """It is there already, once proc is mounted."""
    with tarfile.open(any_stage.caller.programs / "rootfs" / "rootfs.tar") as tar:
        tar.extractall(folder / "root")
    give_to(any_stage.caller, folder / "root")
    words = ("--rootfs", folder / "root", "-w", "/proc/sys/kernel", "pwd")
    assert any_stage.output(*words) == "/proc/sys/kernel"
    assert os.listdir(folder / "root" / "proc") == []


@pytest.mark.stages_from(4)
def test_the_container_dies_with_all_that_has_the_stages_name(any_stage):
    """killall(1) kills the parent, and the process that watches it, too."""
    mark = f"31{secrets.randbelow(10**9)}"
    with any_stage.start("sh", "-c", f"echo ready; sleep {mark}; true") as process:
        assert process.stdout.readline() == "ready\n"

        def watchers() -> list[int]:
            return [pid for pid in children_of(process.pid) if name_of(pid) == any_stage.name]
        assert wait_until(watchers)
        for pid in watchers():
            os.kill(pid, signal.SIGKILL)
        process.kill()
    assert wait_until(lambda: not processes_with(mark)), processes_with(mark)


@pytest.mark.stages_from(4)
def test_only_the_owner_may_write_to_what_a_root_lacked(any_stage, folder):
    with tarfile.open(any_stage.caller.programs / "rootfs" / "rootfs.tar") as tar:
        tar.extractall(folder / "root")
    names = ("proc", "dev", "sys", "new")
    for name in names:
        shutil.rmtree(folder / "root" / name, ignore_errors=True)
    give_to(any_stage.caller, folder / "root")
    assert any_stage.output("--rootfs", folder / "root", "-w", "/new", "pwd") == "/new"
    made = {name: stat.S_IMODE((folder / "root" / name).stat().st_mode)
            for name in names if (folder / "root" / name).exists()}
    assert set(made.values()) <= {0o755, 0o555}, made


def test_a_limit_of_file_sizes_is_the_commands(any_stage):
    """SIGXFSZ does what our caller has chosen, though we ignore it ourselves."""
    assert any_stage.run("true").returncode == 0  # has unpacked what it needs
    limited = ["sh", "-c", 'ulimit -f 8; exec "$@"', "sh"]
    inside = "sh -c 'exec cat /bin/busybox >/tmp/$$.too-large'; exit $?"
    assert any_stage.run("sh", "-c", inside, before=limited).returncode == 128 + signal.SIGXFSZ


def test_a_full_output_is_an_error(any_stage):
    for option in ("--version", "--help"):
        with open("/dev/full", "w", encoding="utf-8") as full:
            result = any_stage.run(option, stdout=full)
        assert result.returncode == 125
        assert result.stderr == f"{any_stage.name}: write(stdout): No space left on device\n"


def test_names_are_printed_without_control_characters(any_stage):
    result = any_stage.run("/\x1b[2J\nfaked: line")
    assert result.stderr == (f"{any_stage.name}: /?[2J?faked: line: "
                             "No such file or directory\n")


@pytest.mark.parametrize("words, message", [
    ((), "no COMMAND given"),
    (("--verbose=perhaps", "sh"), "--verbose takes no value"),
    (("-w",), "--workdir needs a value: DIR"),
    (("-e",), "--env needs a value: KEY=VALUE"),
    (("--env-file",), "--env-file needs a value: FILE"),
    (("--name",), "--name needs a value: NAME"),
    (("--rm=perhaps", "sh"), "--rm takes no value"),
    (("--",), "no COMMAND given"),
    (("--no-such-option", "sh"), "unknown option --no-such-option"),
    (("-e", "=x", "sh"), "--env =x: is not KEY=VALUE"),
])
def test_a_wrong_command_line_is_125(any_stage, words, message):
    result = any_stage.run(*words)
    assert result.returncode == 125
    first, *hint = result.stderr.splitlines()
    assert first == f"{any_stage.name}: {message}"
    assert len(hint) <= 1 and all(line.startswith("hint: ") for line in hint)


def test_options_end_at_the_command(any_stage):
    assert any_stage.output("echo", "--help", "-e", "--", "x") == "--help -e -- x"
    assert any_stage.output("--", "echo", "--", "x") == "-- x"


def test_help_and_version(any_stage):
    shown = any_stage.run("--help")
    assert shown.returncode == 0
    assert f"Usage: {any_stage.name} [OPTIONS] [--] COMMAND [ARG...]" in shown.stdout
    assert re.fullmatch(rf"{any_stage.name} \d+\.\d+\.\d+",
                        any_stage.output("--version"))


def test_verbose_shows_calls_on_stderr_only(any_stage):
    result = any_stage.run("--verbose", "echo", "hello")
    assert result.stdout == "hello\n"
    lines = result.stderr.splitlines()
    child = [line for line in lines if line.startswith(f"{any_stage.name}: child ")]
    assert child[-1] == f"{any_stage.name}: child   execve(echo)"
    assert all(re.match(rf"{any_stage.name}: (parent|child ) +\S", line) for line in lines), lines


def test_the_output_goes_on_when_stderr_is_closed(any_stage):
    def close() -> None:
        os.close(2)

    result = any_stage.run("--verbose", "echo", "hello", preexec_fn=close, stderr=None)
    assert (result.returncode, result.stdout) == (0, "hello\n")


def test_megabytes_pass_through(any_stage):
    assert len(any_stage.output("sh", "-c", "yes | head -c 3000000")) == 2_999_999


def test_the_terminal_is_no_less_ours_without_one(any_stage):
    """No controlling terminal, as from cron: nothing to lend, nothing to complain about."""
    result = any_stage.run("sh", "-c", "exit 4", start_new_session=True)
    assert (result.returncode, result.stderr) == (4, "")


def test_a_pipe_that_closes_early_ends_the_command(any_stage):
    with any_stage.start("yes") as process:
        select.select([process.stdout], [], [], 30)
        process.stdout.close()
        assert process.wait(30) in (1, 128 + signal.SIGPIPE)


def test_an_exception_finds_its_frames_in_a_sorted_table(any_stage):
    # The first of a static program otherwise takes 2 ms, see common/frame_table.cc.
    with open(any_stage.caller.program(any_stage.name), "rb") as file:
        header = struct.unpack("<16s2HI3QI6H", file.read(64))  # see elf(5)
        start, size, count = header[5], header[9], header[10]
        file.seek(start)
        types = [int.from_bytes(file.read(size)[:4], "little") for _ in range(count)]
    assert 0x6474e550 in types, "it has no PT_GNU_EH_FRAME"


@pytest.mark.stages_from(7)
def test_what_covers_the_hosts_cgroups_is_read_only_and_executes_nothing(any_stage):
    if not os.path.isdir("/sys/fs/cgroup"):
        pytest.skip("a kernel without cgroups")
    mounts = map(str.split, any_stage.output("cat", "/proc/mounts").splitlines())
    options = [mount[3].split(",") for mount in mounts if mount[1] == "/sys/fs/cgroup"]
    assert options, "nothing covers them"
    assert set(options[-1]) >= {"ro", "nosuid", "nodev", "noexec"}


@pytest.mark.stages_from(3)
def test_a_wrong_rootfs_is_refused(any_stage, folder):
    (folder / "file").write_text("")
    for path, reason in {folder / "absent": "No such file or directory",
                         folder / "file": "Not a directory"}.items():
        result = any_stage.run("--rootfs", path, "sh")
        assert result.returncode == 125
        assert result.stderr == f"{any_stage.name}: --rootfs {path}: {reason}\n"
