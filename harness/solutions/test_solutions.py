"""Programs that are not ours, and go about it in other ways: a row that fails for a correct one is
wrong. Each has to lose exactly the rows that are listed here, and for the reason given.
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import shutil
from typing import Dict, List, Tuple

import pytest

from harness.grading import report
from harness.grading.grader import Grader, Program, cases_for
from harness.properties.model import PROMISE, Outcome
from harness.properties.scene import Tools
from harness.properties.table import BY_NAME, PROPERTIES
from harness.solutions import naive

HERE = pathlib.Path(__file__).parent

NO_USERSPACE = {row: "it knows neither --userspace nor --with" for row in (
    "hosts_programs_run", "libraries_come_along", "links_are_copied_as_links", "copies_are_copies",
    "copied_links_stay_inside")}
NO_INIT = {row: "it knows no --init" for row in (
    "init_reaps_orphans", "init_reaps_all_orphans", "init_is_pid_1",
    "init_passes_signals_and_status")}
NO_MAPS = {row: "it knows neither --uid-map nor --user" for row in (
    "given_maps_are_used", "given_user_runs_the_command", "given_user_has_no_capabilities",
    "users_come_from_the_root", "user_forms_are_understood", "fifo_for_users_ends",
    "unmapped_root_is_nobody_special")}

ROOT_STAYS_ROOT = {row: "started by root, root inside is the host's: the map is 0 0 1" for row in (
    "root_inside_is_caller_outside", "group_inside_is_callers_outside",
    "sysctls_cannot_be_opened", "hosts_root_keeps_its_limits")}
NO_TMPFS = {row: "it knows no --tmpfs" for row in ("tmpfs_is_for_data", "tmpfs_has_its_size")}

CALLERS_OWN = {
    "umask_is_the_containers": "it leaves the caller's umask as it is",
    "missing_workdir_is_made": "its working directory has to be there",
    "personality_is_the_containers": "it leaves the caller's personality as it is",
    "kill_0_stays_inside": "the command stays in its caller's process group"}
NO_CLOCKS = {row: "it has no time namespace" for row in (
    "own_time_namespace", "uptime_starts_at_zero", "given_uptime_is_told")}
NO_TERMINAL = {row: "the command has its caller's terminal" for row in (
    "terminal_is_its_own", "terminal_is_that_of_its_session",
    "terminal_survives_a_killed_parent", "typed_input_stays_inside")}
NO_KEYRING = {"callers_keys_are_hidden": "it keeps its caller's session keyring"}
BY_DESCRIPTOR = {"descriptors_lead_workdir_nowhere":
                 "it enters the working directory while descriptors of its caller's are open"}
REVOCABLE = {"death_with_the_parent_cannot_be_revoked":
             "the death signal alone ties the command to its parent"}

UNSHARE = {
    **NO_USERSPACE,
    **NO_CLOCKS,
    **NO_INIT,
    **CALLERS_OWN,
    **REVOCABLE,
    "signals_are_forwarded": "the shell dies of them, and unshare(1) does not forward either",
    "killed_is_128_plus_signal": "unshare(1) 2.38 wants to die of the same signal, and for SIGKILL"
                                 " fails: 'sigprocmask unblock failed', status 1",
    "early_death_is_noticed": "setpriv --pdeathsig does not ask whether the parent still lives",
}


# What Debian 12's versions lose and Debian 13's no longer do: util-linux 2.41, bubblewrap 0.11.
LATER_MENDED = {"killed_is_128_plus_signal", "ignored_sigchld_does_no_harm"}


@dataclasses.dataclass(frozen=True)
class Solution:
    """A program under the name by which it knows its stage, and the rows that it loses."""

    name: str
    source: str  # beside us; or the environment variable that says where Bazel has built it
    loses: Dict[str, str] = dataclasses.field(default_factory=dict)
    needs: Tuple[str, ...] = ()
    wrapped: bool = False  # by a shell that waits for it, as users call theirs

    @property
    def id(self) -> str:
        return self.name + "_wrapped" * self.wrapped


SOLUTIONS = [
    Solution("01_ctypes", "ctypes_container.py", CALLERS_OWN),
    Solution("02_ctypes", "ctypes_container.py", CALLERS_OWN),
    Solution("04_ctypes", "ctypes_container.py",
             {**NO_USERSPACE, **NO_INIT, **CALLERS_OWN, **REVOCABLE, **BY_DESCRIPTOR,
              **NO_CLOCKS}),
    Solution("04_ctypes", "ctypes_container.py",
             {**NO_USERSPACE, **NO_INIT, **CALLERS_OWN, **REVOCABLE, **BY_DESCRIPTOR,
              **NO_CLOCKS},
             wrapped=True),
    Solution("04_unshare", "unshare_container.sh", UNSHARE, ("unshare", "setpriv", "hostname")),
    Solution("05_unshare", "unshare_container.sh", {
        **UNSHARE,
        **NO_MAPS,
        **ROOT_STAYS_ROOT,
        **NO_KEYRING,
        "init_hides_the_hosts_program": "it knows no --init",
    }, ("unshare", "setpriv", "hostname")),
    Solution("06_bwrap", "bwrap_container.sh", {
        "failed_call_for_an_option_is_noticed": "it knows no --user",
        "nothing_is_left": "when a call fails in one of its processes, another waits for ever",
        **NO_USERSPACE,
        **NO_MAPS,
        **ROOT_STAYS_ROOT,
        **CALLERS_OWN,
        **REVOCABLE,
        **NO_KEYRING,
        **BY_DESCRIPTOR,
        "not_found_is_127": "bwrap(1) leaves with 1 when exec fails",
        "not_executable_is_126": "bwrap(1) leaves with 1 when exec fails",
        "signals_are_forwarded": "bwrap(1) dies of them, and takes the container with it",
        "init_passes_signals_and_status": "bwrap(1) dies of SIGTERM instead of forwarding it",
        "ctrl_c_arrives_once": "bwrap(1) dies of it, though the command does not",
        "terminal_is_given_back": "bwrap(1) dies of Ctrl-C, and so nobody is there to do it",
        "ignored_sigchld_does_no_harm": "bwrap(1) waits for ever if its caller ignores SIGCHLD",
        "host_mount_stays_outside": "bwrap(1) makes the mounts slaves, not private",
        "mounts_are_private": "bwrap(1) makes the mounts slaves, not private",
        "early_death_is_noticed": "bwrap(1) does not ask whether the parent still lives",
        "init_hides_the_hosts_program": "bwrap(1) as PID 1 is dumpable",
        "kernel_files_are_masked": "bwrap(1) masks nothing in /proc",
        "firmware_is_masked": "bwrap(1) masks nothing in /sys",
        "proc_paths_are_read_only": "bwrap(1) protects only some of them",
        **NO_TMPFS,
        **NO_CLOCKS,
        **NO_TERMINAL,
        "hosts_roots_files_are_closed": "started by root, root inside is the host's",
        "shared_memory_is_for_data": "bwrap(1) makes a folder of /dev's tmpfs of it",
        "devices_cannot_be_changed": "bwrap(1) binds the host's devices writable",
        "masks_cannot_be_changed": "it knows no --uid-map, which this is started with as root",
        "sys_and_dev_stay_in_place": "bwrap(1) follows the root's links",
    }, ("bwrap",)),
    Solution("08c_naive", "HARNESS_NAIVE", naive.LOSES),
]


def cases() -> List[object]:
    """A sanitizer in the naive container, which is compiled here, changes what it does."""
    return [pytest.param(solution, id=solution.id,
                         marks=[pytest.mark.as_shipped] if solution.loses is naive.LOSES else [])
            for solution in SOLUTIONS]


@pytest.mark.parametrize("solution", cases())
def test_it_loses_exactly_what_it_does_not_do(solution: Solution, tools: Tools,
                                              folder: pathlib.Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("its losses are listed for root and user: bazel test --config=root //...")
    for program in solution.needs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program}")
    path = folder / solution.name
    real = folder / "real" / solution.name if solution.wrapped else path
    real.parent.mkdir(exist_ok=True)
    shutil.copy(HERE / os.environ.get(solution.source, solution.source), real)
    if solution.wrapped:
        path.write_text(f'#!/bin/sh\n{real} "$@"\nexit $?\n', encoding="ascii")
        path.chmod(0o755)
    real.chmod(0o755)
    results = Grader(tools).grade(cases_for(Program.of(str(path), solution.name), PROPERTIES,
                                            PROMISE))
    outcomes = {result.case.property.name: result.outcome for result in results
                if result.is_bad}
    told = report.failures(results)
    print(report.summary(results))
    broke = [row for row, outcome in outcomes.items() if outcome is Outcome.ERROR]
    assert not broke, f"no verdict of {broke}\n{told}"
    skipped = {result.case.property.name for result in results
               if result.outcome is Outcome.SKIPPED}
    expected = set(solution.loses) - skipped
    assert set(outcomes) - expected == set(), f"it loses what it should not\n{told}"
    passes = expected - set(outcomes)
    assert passes <= LATER_MENDED, f"it passes what it cannot do: the rows are too weak: {passes}"


@pytest.mark.parametrize("solution", SOLUTIONS, ids=lambda solution: solution.id)
def test_the_losses_are_rows_of_its_stage(solution: Solution) -> None:
    for row in solution.loses:
        assert BY_NAME[row].is_promised_at(solution.name.split("_")[0]), row
