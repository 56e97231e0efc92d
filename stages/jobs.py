"""What a shell's jobs do in a terminal, as seen from outside."""

from __future__ import annotations

import os
import pathlib
from dataclasses import dataclass

from conftest import descendants_of, name_of, wait_until


@dataclass(frozen=True)
class Job:
    pid: int
    state: str
    group: int
    terminal: int
    foreground: int  # the process group in the foreground of that terminal

    @property
    def is_in_foreground(self) -> bool:
        return self.group == self.foreground


def job_of(pid: int) -> Job:
    """See proc_pid_stat(5)."""
    try:
        stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return Job(pid, "X", 0, 0, -1)
    state, _, group, _, terminal, foreground = stat.rpartition(")")[2].split()[:6]
    return Job(pid, state, int(group), int(terminal), int(foreground))


def foreground_is(shell, name: str) -> None:
    """Waits until a program called `name` runs in the foreground of its terminal.

    And, where that is not the shell's, the stage in the foreground of the shell's.
    """

    def runs() -> bool:
        outer = [job_of(pid) for pid in descendants_of(shell.pid)]
        return any(job.is_in_foreground and job.state == "S" and name_of(job.pid) == name
                   for job in outer) and \
            any(job.group == os.tcgetpgrp(shell.child_fd) for job in outer)

    assert wait_until(runs)


def job_is(shell, state: str) -> None:
    """What the outer shell says of its only job."""
    shell.sendline("jobs")
    shell.expect(rf"\[1\]\S* +{state}")
    shell.expect_exact("host$ ")
