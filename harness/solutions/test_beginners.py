"""Programs as beginners write them, in six languages, and none with our command line: each is
graded by a template, and has to lose exactly what is listed here, because of what it does.

What needs an option is n/a for all of them, and earns nothing.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
import subprocess
from typing import Dict, Sequence, Tuple

import pytest

from harness import matrix
from harness.grading import command, report
from harness.grading.foreign import EVERY_OPTION, adapter_for
from harness.grading.grader import Grader, Program, cases_for
from harness.properties.model import PROMISE, Outcome
from harness.properties.scene import Tools
from harness.properties.table import BY_NAME, PROPERTIES

HERE = pathlib.Path(__file__).parent / "beginners"


def because(why: str, *rows: str) -> Dict[str, str]:
    return {row: why for row in rows}


STATUS = because("a failed exec is a status of its own, or an exception's", "not_found_is_127",
                 "not_executable_is_126")
KILLED = because("WIFSIGNALED is not asked for", "killed_is_128_plus_signal")
NOT_THOUGHT_OF = {
    **because("what the caller has open stays open", "descriptors_are_closed",
              "inherited_directory_is_closed"),
    **because("the caller's umask stays", "umask_is_the_containers"),
    **because("the caller's personality stays", "personality_is_the_containers"),
    **because("the command stays in the caller's process group", "kill_0_stays_inside"),
    **because("signals end the parent, and nobody passes them on", "signals_are_forwarded"),
    **because("the terminal's modes are not saved", "terminal_is_given_back"),
    **because("the caller's environment is passed on", "host_variable_is_hidden")}
SIGCHLD = because("the status is lost where the caller ignores SIGCHLD",
                  "ignored_sigchld_does_no_harm")
CTRL_C = because("the parent dies of Ctrl-C", "ctrl_c_arrives_once")
HOSTS_PATH = because("PATH is the caller's", "path_is_the_containers")
ORPHANS = because("no PR_SET_PDEATHSIG", "container_dies_with_its_parent",
                  "death_with_the_parent_cannot_be_revoked", "early_death_is_noticed")
NO_CLOCKS = because("the clocks are the host's", "own_time_namespace", "uptime_starts_at_zero")
NO_FLAGS = because("/proc is mounted without nosuid, nodev and noexec, or not at all",
                   "proc_is_for_data")
NO_WORD_OF_ROOT = because("'Operation not permitted', with status 1", "needs_root_and_says_so")
NO_IPC = because("CLONE_NEWIPC is missing", "own_ipc_namespace", "sysv_ipc_is_hidden",
                 "sysv_ipc_stays_inside", "posix_queue_is_hidden", "posix_queue_stays_inside")
SHARED_MOUNTS = because("mounts stay shared: what it mounts, the host has", "mounts_are_private",
                        "mount_stays_inside", "host_mount_stays_outside", "nothing_is_left")


@dataclasses.dataclass(frozen=True)
class Beginner:
    """A source, how it is compiled, the stage that it has come to, and the rows that it loses."""

    source: str
    stage: str
    loses: Dict[str, str]
    compiler: Tuple[str, ...] = ()  # {source} and {program} are filled in


BEGINNERS = [
    Beginner("clone.c", "04", {
        **STATUS, **KILLED, **NOT_THOUGHT_OF, **SIGCHLD, **CTRL_C, **HOSTS_PATH, **ORPHANS,
        **NO_WORD_OF_ROOT, **NO_IPC, **SHARED_MOUNTS, **NO_FLAGS, **NO_CLOCKS,
        **because("waitpid(2)'s status is not looked at: it is always 0",
                  "exit_status_is_the_commands", "a_stop_is_no_end"),
        **because("the result of chroot(2) is not looked at",
                  "no_chroot_no_start", "failed_call_is_noticed"),
    }, ("gcc", "-o", "{program}", "{source}")),
    Beginner("container.go", "04", {
        **STATUS, **KILLED, **NOT_THOUGHT_OF, **SIGCHLD, **CTRL_C, **HOSTS_PATH, **ORPHANS,
        **NO_WORD_OF_ROOT, **NO_IPC, **NO_FLAGS, **NO_CLOCKS,
        **because("a status other than 0 is an error, and panic() leaves with 2",
                  "exit_status_is_the_commands", "a_stop_is_no_end"),
        "command_is_pid_1": "PID 1 is the program itself, started once more",
    }, ("go", "build", "-o", "{program}", "{source}")),
    Beginner("jail.py", "02", {
        **STATUS, **KILLED, **NOT_THOUGHT_OF, **SIGCHLD, **HOSTS_PATH, **NO_WORD_OF_ROOT,
        **because("os.system() returns the wait status: 37 is 9472, which is 0",
                  "exit_status_is_the_commands", "a_stop_is_no_end"),
        "arguments_are_kept": "the words are joined, and a shell takes them apart again",
        **because("there is no chdir(2)", "cwd_is_inside", "dotdot_stops_at_the_root"),
    }),
    Beginner("box.sh", "04", {
        **KILLED, **NOT_THOUGHT_OF, **HOSTS_PATH, **ORPHANS, **NO_WORD_OF_ROOT, **NO_FLAGS,
        **NO_CLOCKS,
        "proc_is_mounted": "nothing is mounted at /proc",
        "failed_call_is_noticed": "without set -e, the script goes on after a mount(8) that fails",
        "missing_root_stops": "the script goes on after a cd that fails, and then the root is the"
                              " directory where it was started",
    }),
    Beginner("container.rs", "04", {
        **STATUS, **KILLED, **NOT_THOUGHT_OF, **SIGCHLD, **CTRL_C, **HOSTS_PATH, **ORPHANS,
        **NO_WORD_OF_ROOT, **SHARED_MOUNTS, **NO_FLAGS, **NO_CLOCKS,
        "host_processes_are_hidden": "/proc is mounted by the parent, which unshare(2) has left in"
                                     " the host's PID namespace",
    }, ("rustc", "-O", "-o", "{program}", "{source}")),
    Beginner("container.cpp", "05", {
        **STATUS, **KILLED, **NOT_THOUGHT_OF, **SIGCHLD, **CTRL_C, **ORPHANS, **NO_FLAGS,
        **NO_CLOCKS,
        "callers_keys_are_hidden": "the command has the keys of its caller's session",
        **because("started by root, root inside is the host's: the map is 0 0 1",
                  "root_inside_is_caller_outside", "group_inside_is_callers_outside",
                  "sysctls_cannot_be_opened", "hosts_root_keeps_its_limits"),
    }, ("g++", "-std=c++17", "-o", "{program}", "{source}")),
]


def compiled(beginner: Beginner, folder: pathlib.Path) -> pathlib.Path:
    program = folder / pathlib.Path(beginner.source).stem
    if not beginner.compiler:
        shutil.copy(HERE / beginner.source, program)
        program.chmod(0o755)
        return program
    if shutil.which(beginner.compiler[0]) is None:
        pytest.skip(f"there is no {beginner.compiler[0]}")
    words = [word.format(program=program, source=HERE / beginner.source)
             for word in beginner.compiler]
    environment = {"HOME": "/root", **os.environ, "GOCACHE": str(folder / "cache"),
                   "GO111MODULE": "off"}
    done = subprocess.run(words, env=environment, cwd=folder, text=True, check=False, timeout=240,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return program


@pytest.mark.parametrize("beginner", BEGINNERS, ids=lambda beginner: beginner.source)
def test_it_loses_exactly_what_it_does_not_do(beginner: Beginner, tools: Tools,
                                              folder: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("its losses are listed for root and user: bazel test --config=root //...")
    template = f"{compiled(beginner, folder)} run {{root}} {{command}}"
    with adapter_for(template) as (path, _):
        cases = cases_for(Program.of(path, beginner.stage), PROPERTIES, PROMISE)
        results = Grader(tools, lacks=[EVERY_OPTION]).grade(cases)
    told = report.failures(results)
    print(report.summary(results))

    def rows_that(*outcomes: Outcome) -> set:
        return {result.case.property.name for result in results if result.outcome in outcomes}

    assert not rows_that(Outcome.ERROR), told
    lost, expected = rows_that(Outcome.FAILED), set(beginner.loses)
    assert lost - expected == set(), f"it loses what it should not\n{told}"
    passed = expected - lost - rows_that(Outcome.SKIPPED)
    assert not passed, f"it passes what it cannot do: the rows are too weak: {passed}"
    assert {"env_option_works", "workdir_option_works", "wrong_option_is_125"} <= rows_that(
        Outcome.LACKING)


@pytest.mark.parametrize("beginner", BEGINNERS, ids=lambda beginner: beginner.source)
def test_the_losses_are_rows_of_its_stage(beginner: Beginner) -> None:
    for row in beginner.loses:
        assert BY_NAME[row].is_promised_at(beginner.stage), row


def test_an_option_that_is_lacking_is_a_value() -> None:
    words = ["--lacks", "--init", "--stage", "05", "--lacks", "--env", "--binary", "x"]
    assert matrix.parse(words).lacks == ["--init", "--env"]
    words[-2:] = ["--submission", "x"]
    assert command.parse(words).lacks == ["--init", "--env"]


def test_a_template_becomes_a_program_with_our_command_line(folder: pathlib.Path) -> None:
    def said(template: str, *words: Sequence[str]) -> str:
        with adapter_for(template) as (path, _):
            return subprocess.run([path, *words], text=True, check=False, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT).stdout
    assert said("/bin/echo 'a  b' at={root} {command}", "--rootfs", "/my root", "--", "c  d",
                "*") == "a  b at=/my root c  d *\n"
    assert said("/bin/sh -c {line}", "--", "/bin/echo", "c  d", "$HOME") == "c  d $HOME\n"
    assert said("echo {command}", "--init", "--", "x") == "echo: unknown option --init\n"
