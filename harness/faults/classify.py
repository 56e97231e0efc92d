"""The verdict on a case, in one word."""

from __future__ import annotations

import errno
import os
import re
from typing import List

from harness.faults.case import STATUS, Record
from harness.faults.faults import FAIL, KILL, KILL_OTHER, KILLS, RESTART
from harness.faults.isolation import CGROUP, COMFORT, STRONGER, WEAKER, meaning
from harness.faults.known import KNOWN

CLEAN = "clean"  # refused, in one line with the reason
TOLERATED = "tolerated"  # the container is as without the fault
KILLED = "killed"  # the parent was killed, as intended, without harm
TOLD = "told"  # another process was killed, and the exit status and a line say so
NO_OWN_CGROUP = "no own cgroup"
FEWER_RIGHTS = "fewer rights"
RAN_THEN_125 = "ran, then 125"
WRONG_MESSAGE = "wrong message"
SILENT = "silent"  # a process was killed, and the exit status looks like the command's
HANG = "hang"
CRASH = "crash"
PROCESS_LEFT = "process left"
FAIL_OPEN = "FAIL-OPEN"
DIFF = "DIFF"
LEFT = "left, swept"  # by a process that was killed, and the next start has removed it
UNTIDY = "left, not killed"  # the next start has removed it, but this one had time to do so
LEAK = "LEAK"
NEXT_FAILED = "next start failed"
EXPLAINED = "explained"  # see known.py
MISSED = "missed"  # the fault did not happen: no case

GOOD = (CLEAN, TOLERATED, KILLED, TOLD, EXPLAINED, NO_OWN_CGROUP, LEFT)
COLUMNS = (CLEAN, TOLERATED, KILLED, TOLD, EXPLAINED, NO_OWN_CGROUP, FEWER_RIGHTS, RAN_THEN_125,
           WRONG_MESSAGE, SILENT, HANG, CRASH, PROCESS_LEFT, FAIL_OPEN, DIFF, LEFT, UNTIDY,
           LEAK, NEXT_FAILED)

# check() with --verbose writes "08b_seccomp: parent mount(...) = 0".
TRACE = re.compile(r"^\w+: (parent|child|PID 2|janitor|denied)\b")
# The container goes on without a process that helped it.
HELPER_ENDED = re.compile(r"\d\d[a-z]?_\w+: the .* (was killed by SIGKILL|failed); ").match
SET_UP_FAILED = (125, 126, 127)


def verdicts(record: Record) -> List[str]:
    """First the outcome of the start, then what it left. A case may count in two columns."""
    if not record.hit:
        return [MISSED]
    found = [outcome(record)]
    if record.left_processes and found[0] != PROCESS_LEFT:
        found.append(PROCESS_LEFT)
    if record.left_for_good:
        found.append(LEAK)
    elif record.left:
        found.append(LEFT if record.kind in KILLS else UNTIDY)
    if record.next_exit not in (None, STATUS) or weakest(record.next_changes) == WEAKER:
        found.append(NEXT_FAILED)
    return list(dict.fromkeys(EXPLAINED if is_explained(verdict, record) else verdict
                              for verdict in found))


def is_explained(verdict: str, record: Record) -> bool:
    return any(known.explains(verdict, record) for known in KNOWN)


def outcome(record: Record) -> str:
    if record.hung:
        return HANG
    if record.kind in (KILL, RESTART):
        return KILLED if record.signal == 9 else outcome_of_end(record)
    if record.kind == KILL_OTHER:
        return outcome_of_killed_child(record)
    return outcome_of_end(record)


def outcome_of_end(record: Record) -> str:
    if record.signal is not None:
        return CRASH
    if record.exit == STATUS:
        return outcome_of_changes(record)
    if has_refused(record):
        return RAN_THEN_125 if record.ran else (WRONG_MESSAGE if wrong_message(record) else CLEAN)
    return DIFF


def has_refused(record: Record) -> bool:
    """OCI runtimes have one status for all failures, and so has bwrap."""
    if is_stage(record) and not record.configuration.startswith("11"):
        return record.exit in SET_UP_FAILED
    return record.exit in (1, *SET_UP_FAILED)


def outcome_of_killed_child(record: Record) -> str:
    """The OOM killer does so. It must not look as if the command had ended."""
    if record.exit == STATUS:
        found = outcome_of_changes(record)
        return TOLD if found == FEWER_RIGHTS and any(map(HELPER_ENDED, said(record))) else found
    if record.signal is not None:
        return CRASH
    if record.ran:  # it was the command, or its PID 1: 137 is what that means
        return TOLD if record.exit == 137 or has_refused(record) else DIFF
    return TOLD if has_refused(record) and said(record) else SILENT


def outcome_of_changes(record: Record) -> str:
    if not record.seen and record.kind != "files":  # whose output goes nowhere
        return DIFF
    meanings = {meaning(name, *pair) for name, pair in record.changes.items()}
    meanings -= {COMFORT}
    if only_cgroups(record, meanings):
        return NO_OWN_CGROUP
    if not meanings:
        return TOLERATED
    if WEAKER in meanings:
        return FAIL_OPEN
    return FEWER_RIGHTS if meanings <= {STRONGER, CGROUP} else DIFF


def only_cgroups(record: Record, meanings: set) -> bool:
    """Without a cgroup of its own there is none to be seen in, and /sys/fs/cgroup is an empty
    tmpfs."""
    about_it = {"inside /sys/fs/cgroup", "mounts", "cgroup", "namespace cgroup"}
    return CGROUP in meanings and set(record.changes) <= about_it and WEAKER not in meanings


def weakest(differences: dict) -> str:
    meanings = {meaning(name, *pair) for name, pair in differences.items()}
    return WEAKER if WEAKER in meanings else ""


def is_stage(record: Record) -> bool:
    return record.configuration[0].isdigit()


def said(record: Record) -> List[str]:
    """Its stderr without the lines of --verbose."""
    return [line for line in record.stderr.replace("\r", "").splitlines() if not TRACE.match(line)]


def wrong_message(record: Record) -> str:
    """What is wrong with the message, which has to be NAME: WHAT: WHY, and perhaps one hint. '' if
    it is right."""
    lines = said(record)
    if not lines:
        return "it says nothing"
    reason = os.strerror(getattr(errno, record.error)) if record.kind == FAIL else ""
    if not is_stage(record):
        return "" if reason in record.stderr else "it does not say why"
    errors = [line for line in lines if not line.startswith("hint: ")]
    if not all(re.match(r"^\d\d[a-z]?_\w+: .*[^ :]", line) for line in errors):
        return "a line is not of the form NAME: WHAT: WHY"
    if len(errors) != 1 or len(lines) > 2:
        return "more than one line, and a hint"
    if "basic_filebuf" in errors[0]:
        return "it names a part of the C++ library, and no file"
    if reason and not errors[0].endswith(reason) and reason not in errors[0]:
        return "it does not say why"
    return ""
