"""Programs that are not containers, or worse: their rows fail, in time, and for a clear reason.

Each is a few lines that a student might hand in. The rows are those of stage 01: a program that
cannot run a command cannot do more.
"""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import time
from typing import Dict, Sequence

import pytest

from harness.grading.grader import Program, cases_for, grade_in
from harness.matrix import programs_of
from harness.properties.model import PROMISE, Outcome, Result
from harness.properties.scene import Tools
from harness.properties.table import BY_NAME, PROPERTIES
from harness.properties.verdict import ROOT, USER
from harness.places import places

TIME_LIMIT = 0.5

# A correct program, as far as a shell script can be one: skips the options, executes the command.
GOOD = 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"'

# name -> the script, and what has to be in the reason of each row
NEVER_RUN = {
    "hangs": ("while :; do sleep 100; done", "within"),
    "hangs_without_signals": ("trap '' TERM INT HUP QUIT USR1 USR2; while :; do sleep 100; done",
                              "within"),
    "stops_itself": ("kill -STOP $$", "within"),
    "does_nothing": ("exit 0", "exit status 0"),
    "fails": ("echo broken >&2; exit 9", "broken"),
    "prints_megabytes": ("yes", "output limit"),
    "prints_megabytes_of_errors": ("yes >&2", "output limit"),
    "kills_its_group": ("kill -9 0", "signal 9"),
    "kills_all_it_can": ("kill -9 -1; exit 3", "never ran"),
    "leaves_a_daemon": ("setsid sleep 100 & exit 0", "exit status 0"),
}

FORKS = """
import os, time
for _ in range(6):  # six at a time, for ever; the others would be this machine's, not ours
    if os.fork() == 0:
        while True:
            if os.fork() != 0:
                os._exit(0)
            os.setsid()
time.sleep(100)
"""

ROWS = ("exit_status_is_the_commands", "killed_is_128_plus_signal", "arguments_are_kept",
        "descriptors_are_closed", "signals_are_forwarded", "ctrl_c_arrives_once",
        "workdir_option_works", "ignored_sigchld_does_no_harm")


def script(folder: pathlib.Path, text: str, first_line: str = "#!/bin/sh") -> str:
    path = folder / "my_container"
    path.write_text(f"{first_line}\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def grade(tools: Tools, path: str, rows: Sequence[str], time_limit: float = TIME_LIMIT,
          stage: str = "01", own_host: bool = False) -> Dict[str, Result]:
    """With `own_host`, it may do harm, but only to the host that root's agent has of its own on
    this machine, or, if we are an ordinary user, to a virtual machine."""
    in_vm = own_host and os.geteuid() != 0
    identities = (ROOT, USER) if in_vm or os.geteuid() == 0 else (USER,)
    cases = cases_for(Program.of(path, stage), [BY_NAME[row] for row in rows], PROMISE, identities)
    with places("vm" if in_vm else "host", programs_of(tools, cases)) as where:
        return {result.case.id: result for result in grade_in(where, tools, cases, time_limit)}


def check_that_a_good_one_passes(tools: Tools, folder: pathlib.Path) -> None:
    """The next test starts clean."""
    results = grade(tools, script(folder, GOOD), ["exit_status_is_the_commands"], 5.0)
    assert [result.outcome for result in results.values()] == [Outcome.PASSED] * len(results)


@pytest.mark.parametrize("name", NEVER_RUN)
def test_a_program_that_never_runs_the_command_fails_all_rows(tools, folder, name):
    text, reason = NEVER_RUN[name]
    start = time.monotonic()
    results = grade(tools, script(folder, text), ROWS, own_host=name == "kills_all_it_can")
    # Half a second for each of 7 scenes and 2 callers; more under a sanitizer, on a busy machine.
    assert time.monotonic() - start < 40
    assert len(results) >= len(ROWS)
    for result in results.values():
        assert result.outcome is Outcome.FAILED, result.explain()
        # On a busy machine it may not write as much, or get as far, in such a short time.
        assert any(one in result.why for one in (reason, "never ran", "did not run within")), \
            result.explain()
    assert any(reason in result.why for result in results.values())
    check_that_a_good_one_passes(tools, folder)


def test_a_program_that_forks_without_end_fails_all_rows(tools, folder):
    results = grade(tools, script(folder, FORKS, "#!/usr/bin/python3"), ROWS[:4])
    assert {result.outcome for result in results.values()} == {Outcome.FAILED}
    check_that_a_good_one_passes(tools, folder)


ENDS_EARLY = """
import subprocess, sys
command = sys.argv[sys.argv.index("--") + 1:]
with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
    for line in process.stdout:
        if "waiting" in line:
            process.kill()
            process.wait()
        print(line, end="", flush=True)
sys.exit(9)
"""


def test_a_program_that_ends_before_its_command_fails_what_is_seen_from_outside(tools, folder):
    rows = ["descriptors_are_closed", "killed_is_128_plus_signal"]
    results = grade(tools, script(folder, ENDS_EARLY, "#!/usr/bin/python3"), rows, 5.0)
    for result in results.values():
        assert result.outcome is Outcome.FAILED, result.explain()
        assert "ended before its command did: exit status 9" in result.why


@pytest.mark.parametrize("make, reason", [
    (lambda path: None, "No such file"),
    (lambda path: path.write_text("#!/bin/sh\n"), "Permission denied"),
    (lambda path: path.mkdir(), "Permission denied"),
    (lambda path: (path.write_text("#!/no/such/shell\n"), path.chmod(0o755)), "No such file"),
    (lambda path: (path.write_bytes(b"\x7fELF garbage"), path.chmod(0o755)), "Exec format error"),
], ids=["missing", "not_executable", "directory", "no_interpreter", "no_program"])
def test_a_program_that_cannot_be_executed_says_why(tools, folder, make, reason):
    path = folder / "my_container"
    make(path)
    for result in grade(tools, str(path), ROWS).values():
        assert result.outcome is Outcome.FAILED
        assert reason in result.why, result.explain()


# None of these ever runs a command, so they earn nothing for what does not happen.
NEVER_EARN = {
    "refuses": 'echo "this needs root" >&2; exit 1',
    "refuses_with_125": 'echo "this needs root" >&2; exit 125',
    "succeeds": "exit 0",
    "is_cat": 'exec cat "$@"',
    "is_a_shell": 'exec sh -c "$@"',
    "says_not_found": "exit 127",
}


@pytest.mark.parametrize("name, stage", [
    *(("refuses", stage) for stage in ("01", "03", "04", "05", "07", "08c")),
    *((name, "08c") for name in NEVER_EARN if name != "refuses"),
    ("is_a_shell", "01"), ("says_not_found", "01")])
def test_a_program_that_never_runs_a_command_earns_nothing(tools, folder, name, stage):
    program = Program.of(script(folder, NEVER_EARN[name]), stage)
    with places("host", []) as where:
        results = grade_in(where, tools, cases_for(program, PROPERTIES, PROMISE), TIME_LIMIT)
    assert [result.explain() for result in results if result.points > 0] == []
    judged = [result for result in results if result.outcome is not Outcome.SKIPPED]
    assert judged and all(result.is_bad for result in judged)
    errors = [result.explain() for result in results if result.outcome is Outcome.ERROR]
    assert not errors, errors


# Forks if clone(2) cannot make namespaces: it checks the result, but goes on without isolation.
FALLS_BACK = """
import ctypes, os, sys
words = sys.argv[sys.argv.index("--") + 1:]
libc = ctypes.CDLL(None, use_errno=True)
NEWUTS, NEWNS, SIGCHLD, CLONE = 0x04000000, 0x00020000, 17, 56
child = libc.syscall(CLONE, NEWUTS | NEWNS | SIGCHLD, 0, 0, 0, 0)
if child == -1:
    child = os.fork()
if child == 0:
    os.chroot(sys.argv[sys.argv.index("--rootfs") + 1])
    os.chdir("/")
    os.execv(words[0], words)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_program_that_forks_where_clone_fails_is_seen_without_namespaces(tools, folder):
    if os.geteuid() != 0 or os.uname().machine != "x86_64":
        pytest.skip("it needs root, and x86-64")
    path = script(folder, FALLS_BACK, "#!/usr/bin/python3")
    results = grade(tools, path, ["no_namespaces_no_start", "own_uts_namespace"], 5.0, "04")
    outcomes = {result.case.property.name: result.outcome for result in results.values()}
    assert outcomes == {"no_namespaces_no_start": Outcome.FAILED,
                        "own_uts_namespace": Outcome.PASSED}
    assert any("the command runs; both are in uts:" in result.got for result in results.values())


# Python's handler of SIGINT is replaced, so the parent ends; the command has a handler of its own.
ENDS_AT_CTRL_C = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: sys.exit(1))
sys.exit(subprocess.Popen(sys.argv[sys.argv.index("--") + 1:]).wait())
"""


def test_a_parent_that_ends_at_ctrl_c_while_the_command_goes_on_is_seen(tools, folder):
    path = script(folder, ENDS_AT_CTRL_C, "#!/usr/bin/python3")
    for result in grade(tools, path, ["ctrl_c_arrives_once"], 5.0).values():
        assert result.outcome is Outcome.FAILED
        assert "ends the program itself" in result.got, result.explain()


# Takes its time, first as one process and then as two.
SLOW = """
import os, sys, time
words = sys.argv[sys.argv.index("--") + 1:]
time.sleep({})
if os.fork() == 0:
    time.sleep(8)
    os.execv(words[0], words)
os.wait()
"""


@pytest.mark.parametrize("seconds", [0.2, 0.7, 0.8, 0.9])
def test_a_program_that_is_slow_gets_a_verdict_about_its_early_death(tools, folder, seconds):
    if os.geteuid() != 0:
        pytest.skip("stage 04 needs root")
    path = script(folder, SLOW.format(seconds), "#!/usr/bin/python3")
    results = grade(tools, path, ["early_death_is_noticed"], 1.0, "04")
    assert [result.outcome for result in results.values()] == [Outcome.FAILED], \
        [result.explain() for result in results.values()]


# The command dies with unshare(1), but the program goes on.
LINGERS = """
root=$2; while [ "$1" != -- ]; do shift; done; shift
unshare --fork --pid --kill-child chroot "$root" "$@"; {}
"""


@pytest.mark.parametrize("then, outcome", [("exit", Outcome.PASSED), ("sleep 9", Outcome.FAILED)])
def test_a_program_that_goes_on_after_it_was_killed_is_seen(tools, folder, then, outcome):
    if os.geteuid() != 0:
        pytest.skip("stage 04 needs root")
    path = script(folder, LINGERS.format(then))
    results = grade(tools, path, ["container_dies_with_its_parent"], 2.0, "04")
    assert [result.outcome for result in results.values()] == [outcome], \
        [result.explain() for result in results.values()]


KEEPS_OUTPUT_BACK = """
import subprocess, sys
words = sys.argv[sys.argv.index("--") + 1:]
done = subprocess.run(words, stdout=subprocess.PIPE)
sys.stdout.buffer.write(done.stdout)
sys.exit(done.returncode if done.returncode >= 0 else 128 - done.returncode)
"""


def test_output_that_comes_at_the_end_is_waited_for(tools, folder):
    rows = ["exit_status_is_the_commands", "killed_is_128_plus_signal", "stdin_arrives",
            "descriptors_are_closed", "a_stop_is_no_end"]
    results = grade(tools, script(folder, KEEPS_OUTPUT_BACK, "#!/usr/bin/python3"), rows, 5.0)
    for result in results.values():
        assert result.outcome is Outcome.PASSED, result.explain()


def test_an_option_that_a_program_lacks_is_told_apart_and_earns_nothing(tools, folder):
    text = 'for word; do [ "$word" = -w ] && { echo "unknown option $word" >&2; exit 2; }; done; '
    results = grade(tools, script(folder, text + GOOD),
                    ["exit_status_is_the_commands", "workdir_option_works"], 5.0)
    outcomes = {result.case.property.name: result.outcome for result in results.values()}
    assert outcomes == {"exit_status_is_the_commands": Outcome.PASSED,
                        "workdir_option_works": Outcome.LACKING}
    lacking = [result for result in results.values() if result.outcome is Outcome.LACKING]
    assert {result.why for result in lacking} == {"it has no --workdir"}
    assert sum(result.points for result in lacking) == 0


def test_partial_results_are_kept(tools, folder):
    """It hangs with the option -w; the rows without that option are not affected."""
    text = 'for word; do [ "$word" = -w ] && sleep 100; done; ' + GOOD
    results = grade(tools, script(folder, text),
                    ["exit_status_is_the_commands", "workdir_option_works"], 2.0)
    outcomes = {result.case.property.name: result.outcome for result in results.values()}
    assert outcomes == {"exit_status_is_the_commands": Outcome.PASSED,
                        "workdir_option_works": Outcome.FAILED}


# Each lacks one thing; the rows that must notice.
BROKEN = {
    "leaves_a_mount": ('mkdir -p "$TMPDIR/m"; mount -t tmpfs left "$TMPDIR/m"; ' + GOOD,
                       "nothing_is_left", "left"),
    "leaves_a_file": ('echo > "$TMPDIR/left"; ' + GOOD, "nothing_is_left", "/left"),
    "leaves_a_file_in_tmp": ("echo > /tmp/left; " + GOOD, "nothing_is_left", "/tmp/left"),
    "leaves_a_file_in_run": ("echo > /run/left; " + GOOD, "nothing_is_left", "/run/left"),
    "leaves_a_folder_in_var_lib": ("mkdir -p /var/lib/left/one; " + GOOD, "nothing_is_left",
                                   "/var/lib/left"),
    "leaves_a_cgroup": ("mkdir $(grep -m 1 cgroup2 /proc/mounts | cut -d ' ' -f 2)/left; " + GOOD,
                        "nothing_is_left", "/left empty"),
    "leaves_a_process": ("(setsid sleep 99 </dev/null >/dev/null 2>&1 &); " + GOOD,
                         "nothing_is_left", "sleep 99"),
    "leaves_a_queue": ("ipcmk -Q >/dev/null; " + GOOD, "nothing_is_left", "sysvipc"),
    "renames_the_host": ("hostname renamed; " + GOOD, "nothing_is_left", "renamed"),
    "stdin_from_null": (GOOD + " </dev/null", "stdin_arrives", "end-of-file"),
    "ignores_wrong_options": (GOOD, "wrong_option_is_125", "exit status 37"),
    "says_nothing": (GOOD, "errors_are_told", "empty"),
    "ignores_env": (GOOD, "env_option_works", "not in"),
    "ignores_workdir": (GOOD, "workdir_option_works", "not"),
    "keeps_descriptors": (GOOD, "descriptors_are_closed", "7, which is "),
    "keeps_a_directory": (GOOD, "inherited_directory_is_closed", "secret-"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_program_that_lacks_one_thing_fails_that_row(tools, folder, name):
    text, row, got = BROKEN[name]
    needs_root = name in ("leaves_a_mount", "renames_the_host", "leaves_a_file_in_run",
                          "leaves_a_folder_in_var_lib", "leaves_a_cgroup")
    results = grade(tools, script(folder, text), [row, "killed_is_128_plus_signal"], 2.0,
                    own_host=needs_root or name == "leaves_a_file_in_tmp")
    for result in results.values():
        if result.case.property.name != row:
            continue
        if result.case.identity == "user" and needs_root:
            continue
        assert result.outcome is Outcome.FAILED, result.explain()
        assert got in result.got, result.explain()


def test_what_a_program_prints_is_not_believed(tools, folder):
    """It replies in the probe's place, with the right nonce, and reports that everything is
    isolated."""
    text = """
import sys, time
words = sys.argv[sys.argv.index("--") + 1:]
for verb in words[2:]:
    if verb == "--":
        break
    print('{"nonce":"%s","verb":"%s","errno":"ENOENT","pid":1,"uid":0,"gid":0,"held":"waiting"}'
          % (words[1], verb), flush=True)
time.sleep(3)
"""
    results = grade(tools, script(folder, text, "#!/usr/bin/python3"),
                    ["host_file_is_hidden", "hostname_is_own", "own_pid_namespace",
                     "second_chroot_leads_nowhere"], 1.0, "06")
    assert results
    for result in results.values():
        assert result.outcome in (Outcome.ERROR, Outcome.FAILED), result.explain()


# Runs nothing, but writes what it knows of the harness's questions as answers.
MAKES_ANSWERS_UP = """
import json, sys
words = sys.argv[sys.argv.index("--") + 1:] if "--" in sys.argv else sys.exit(125)
status = 0
for verb in words[2:]:
    answer = {"nonce": words[1], "verb": verb, "errno": "ENOENT", "pid": 1, "uid": 0, "text": ""}
    if verb.startswith("exit="):
        status = int(verb[5:])
    if verb.startswith(("hold", "trap")):
        print(json.dumps({**answer, "held": "waiting"}, separators=(",", ":")), flush=True)
        {wait}
    print(json.dumps(answer, separators=(",", ":")), flush=True)
sys.exit(status)
"""


@pytest.mark.parametrize("stage, wait", [
    ("01", "sys.stdin.read()"), ("05", "sys.stdin.read()"), ("05", "pass"), ("08c", "pass")])
def test_answers_that_a_program_makes_up_earn_nothing(tools, folder, stage, wait):
    path = script(folder, MAKES_ANSWERS_UP.replace("{wait}", wait), "#!/usr/bin/python3")
    with places("host", []) as where:
        results = grade_in(where, tools, cases_for(Program.of(path, stage), PROPERTIES, PROMISE),
                           TIME_LIMIT)
    assert [result.explain() for result in results if result.points > 0] == []
    assert any("the host has never seen one" in result.why for result in results)
    errors = [result.explain() for result in results if result.outcome is Outcome.ERROR]
    assert not errors, errors


# Accepts every option, and runs the command on the host, from where the new root is on it.
RUNS_ON_THE_HOST = """
import os, sys
words = sys.argv[sys.argv.index("--") + 1:] if "--" in sys.argv else sys.exit(125)
root = sys.argv[sys.argv.index("--rootfs") + 1] if "--rootfs" in sys.argv else ""
os.execv(root + words[0], words)
"""


def test_what_is_missing_because_the_root_is_the_hosts_earns_nothing(tools, folder):
    """A file of the new root cannot be reached, for lack of that root."""
    path = script(folder, RUNS_ON_THE_HOST, "#!/usr/bin/python3")
    rows = ["root_is_the_directory", "absolute_link_stays_inside", "host_mount_stays_outside",
            "mount_stays_inside", "strangers_are_nobody", "hosts_files_keep_their_owner",
            "init_reaps_orphans"]
    for result in grade(tools, path, rows, 2.0, "05").values():
        assert result.outcome in (Outcome.FAILED, Outcome.SKIPPED), result.explain()


# Leaves the command behind as a daemon, and ends with the status that it would have.
LEAVES_THE_COMMAND = """
import os, sys
words = sys.argv[sys.argv.index("--") + 1:] if "--" in sys.argv else sys.exit(125)
root = sys.argv[sys.argv.index("--rootfs") + 1] if "--rootfs" in sys.argv else ""
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execv(root + words[0], words)
    os._exit(0)
sys.exit(next((int(word[5:]) for word in words if word.startswith("exit=")), 0))
"""


def test_a_command_that_is_left_behind_is_seen(tools, folder):
    path = script(folder, LEAVES_THE_COMMAND, "#!/usr/bin/python3")
    rows = ["early_death_is_noticed", "container_dies_with_its_parent", "daemons_end_with_pid_1",
            "killed_is_128_plus_signal", "signals_are_forwarded"]
    for result in grade(tools, path, rows, 2.0, "05").values():
        assert result.outcome is Outcome.FAILED, result.explain()


def run_matrix(tools: Tools, program: str, *words: str, **how) -> subprocess.CompletedProcess:
    environment = {**os.environ, "HARNESS_AGENT": tools.agent, "HARNESS_PROBE": tools.probe,
                   "HARNESS_BUSYBOX": tools.busybox, **how.pop("env", {})}
    command = [sys.executable, "-B", "-m", "harness.matrix", "--in", "host", "--binary",
               program, *words]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          env=environment, check=False, timeout=100, **how)


def test_the_matrix_says_what_fails_and_leaves_with_1(tools, folder):
    done = run_matrix(tools, script(folder, GOOD), "--stage", "01", "--time-limit", "2")
    assert done.returncode == 1
    assert "exit_status_is_the_commands" in done.stdout and "FAIL" in done.stdout
    assert "Try" not in done.stdout and "Traceback" not in done.stdout


def test_the_matrix_can_name_what_fails(tools, folder):
    done = run_matrix(tools, script(folder, GOOD), "--stage", "01", "--time-limit", "2",
                      "--failing")
    failing = done.stdout.split()
    assert "descriptors_are_closed" in failing
    assert "exit_status_is_the_commands" not in failing
    assert set(failing) <= {row.name for row in PROPERTIES}


def test_the_matrix_of_what_holds_leaves_with_0(tools, folder):
    done = run_matrix(tools, script(folder, GOOD), "--stage", "01", "--property", "stdin_arrives",
                      "--property", "exit_status_is_the_commands")
    assert done.returncode == 0, done.stdout


def test_an_ordinary_user_can_grade_and_is_told_what_needs_root(tools, folder):
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    for path in (tools.agent, tools.probe, tools.busybox):
        shutil.copy(path, folder)
    shutil.copytree("harness", folder / "harness", ignore=shutil.ignore_patterns("*.cc", "__pyc*"))
    own = Tools(*(str(folder / os.path.basename(path))
                  for path in (tools.agent, tools.probe, tools.busybox)))
    done = run_matrix(own, script(folder, GOOD), "--stage", "01", "--time-limit", "2", user=12345,
                      cwd=folder)
    assert "skipped: it needs root" in done.stdout, done.stdout
    assert "exit_status_is_the_commands" in done.stdout and "01u" in done.stdout
    assert "Traceback" not in done.stdout
