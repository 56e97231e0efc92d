"""The verdicts, by recorded cases."""

from __future__ import annotations

import pathlib
from typing import Any, List

import pytest

from harness.faults import classify
from harness.faults.case import Record
from harness.faults.classify import (CLEAN, COLUMNS, CRASH, DIFF, EXPLAINED, FAIL_OPEN,
                                     FEWER_RIGHTS, HANG, KILLED, LEAK, LEFT, MISSED, NEXT_FAILED,
                                     NO_OWN_CGROUP, PROCESS_LEFT, RAN_THEN_125, SILENT, TOLD,
                                     TOLERATED, UNTIDY, WRONG_MESSAGE, verdicts, wrong_message)
from harness.faults.faults import (FAIL, KILL, KILL_OTHER, RESTART, RETURN, Call, Fault, calls_of,
                                   fault_called, faults_for, without_loops)
from harness.faults.isolation import changes, meaning, mounts_of, steady
from harness.faults.known import KNOWN, Known
from harness.faults.results import Results, count
from harness.faults.table import (BEGIN, END, bad_cases, doubtful_lines, one_table, tables,
                                  write_into)

MASK = "/proc/kcore tmpfs ro,nosuid"
NO_REPORTER = ("08b_seccomp: the reporter of denied calls was killed by SIGKILL; from then on such"
               " calls failed with ENOSYS\n")
NO_JANITOR = ("08c_network: the janitor was killed by SIGKILL; the parent cleans up in its place\n")
ENOSYS = {"asked forbidden_calls": ('{"outcomes": ["acct=EPERM"]}',
                                    '{"outcomes": ["acct=ENOSYS"]}')}
CGROUP_MOUNT = "/sys/fs/cgroup cgroup2 ro,nosuid"


def case(configuration: str = "05", kind: str = FAIL, name: str = "--fail 0.0:mount:1:EPERM",
         error: str = "EPERM", **more: Any) -> Record:
    more.setdefault("seen", more.get("ran", False))
    return Record(configuration, kind, name, error=error if kind == FAIL else "", **more)


RECORDED = [
    (case(hit=False, exit=42), [MISSED]),
    (case(exit=125, stderr="05_userns: mount(/proc): Operation not permitted\n"), [CLEAN]),
    (case(exit=125, stderr="05_userns: mount(/proc): Operation not permitted\nhint: do so\n"),
     [CLEAN]),
    (case(exit=126, error="EACCES", stderr="05_userns: /probe: Permission denied\n"), [CLEAN]),
    (case("08b-verbose", exit=125, stderr="08b_seccomp: child mount(x) = 0\n"
          "08b_seccomp: mount(/proc): Operation not permitted\n"), [CLEAN]),
    (case("06-terminal", exit=125, stderr="06_pivot_root: x(): Operation not permitted\r\n"),
     [CLEAN]),
    (case(exit=42, ran=True), [TOLERATED]),
    (case(exit=42, ran=True, changes={"root/etc/hosts": ("127.0.0.1", "")}), [TOLERATED]),
    (case("07", exit=42, ran=True, changes={
        "mounts": (CGROUP_MOUNT, "/sys/fs/cgroup tmpfs ro"), "cgroup": ("/a", "/b")}),
     [NO_OWN_CGROUP]),
    (case("08b", exit=42, ran=True, changes={"status CapBnd": ("ff", "fe")}), [FEWER_RIGHTS]),
    (case("08b", exit=125, ran=True, stderr="08b_seccomp: x(): Operation not permitted\n"),
     [RAN_THEN_125]),
    (case("08b", exit=125, ran=True, error="ENOMEM", call="poll 0x1 0x2",
          stderr="08b_seccomp: poll(): Cannot allocate memory\n"), [EXPLAINED]),
    (case("08b", exit=125, ran=True, error="ENOMEM", call="poll 0x1 0x2", left=["link hood0"],
          next_exit=42, stderr="x\n"), [EXPLAINED, UNTIDY]),
    # D9: the parent's failure in place of the child's
    (case("08c-bridge", error="EINVAL", exit=125,
          stderr="08c_network: rtnetlink(NEWLINK hood1): No such process\n"), [WRONG_MESSAGE]),
    # D13, D11
    (case("04-init", exit=125), [WRONG_MESSAGE]),
    (case("07", error="EIO", exit=125, stderr="07_cgroups: basic_filebuf::underflow error reading"
          " the file: Input/output error\n"), [WRONG_MESSAGE]),
    (case("08c-pasta-user", exit=125, stderr="08c_network: pasta: \n"), [WRONG_MESSAGE]),
    (case("08c-bridge", exit=125, stderr="08c_network: pipe2(): Operation not permitted\n"
          "08c_network: open(): Operation not permitted\n"), [WRONG_MESSAGE]),
    (case(hung=True, alive=["/probe"]), [HANG]),
    (case("08c-bridge", exit=None, signal=13), [CRASH]),
    (case(exit=125, stderr="05_userns: x: Operation not permitted\n", left_processes=["tar"]),
     [CLEAN, PROCESS_LEFT]),
    # D6, D14
    (case("08b", exit=42, ran=True, changes={
        "status CapEff": ("0000000000000000", "000001ffffffffff")}), [FAIL_OPEN]),
    (case("05-user-maps", exit=42, ran=True, changes={"status Groups": ("", "4242 12345")}),
     [FAIL_OPEN]),
    (case("06", exit=42, ran=True, changes={"mounts": (MASK, "")}), [FAIL_OPEN]),
    (case("bwrap", exit=42, ran=True, changes={"namespace user": ("own", "host")}), [FAIL_OPEN]),
    (case(exit=42, ran=True, changes={"status SigBlk": ("0", "4")}), [DIFF]),
    (case(exit=9, ran=True), [DIFF]),
    (case(exit=42, ran=True, seen=False), [DIFF]),  # nothing was compared
    (case(kind="files", name="closed: 1", exit=42), [TOLERATED]),
    # D7
    (case("08c-bridge", "surroundings", "umask 77", exit=42, ran=True, changes={
        "inside /etc/hosts": ("100644 uid 0 device", "100600 uid 0 device")}), [DIFF]),
    (case("08c-bridge", KILL, signal=9, left=["link hood0"], next_exit=42), [KILLED, LEFT]),
    (case("07", FAIL, exit=42, ran=True, left=["cgroup x"], next_exit=42), [TOLERATED, UNTIDY]),
    (case("08c-bridge", exit=125, stderr="08c_network: x: Operation not permitted\n",
          left=["ip_forward 1"], next_exit=125, left_for_good=["ip_forward 1"]),
     [CLEAN, LEAK, NEXT_FAILED]),
    (case("02-cold", RESTART, signal=9, next_exit=125), [KILLED, NEXT_FAILED]),
    (case("08c-pasta", RESTART, signal=9, next_exit=125, next_stderr="08c_network: pasta: Failed to"
          " bind any port for '-t 0.0.0.0/1:2', exiting\n"), [KILLED, EXPLAINED]),
    (case("08c-pasta", RESTART, signal=9, next_exit=125, next_stderr="08c_network: pasta: x\n"),
     [KILLED, NEXT_FAILED]),
    (case("08b", RETURN, exit=42, ran=True, next_exit=42,
          next_changes={"status Seccomp": ("2", "0")}), [TOLERATED, NEXT_FAILED]),
    # D8
    (case(kind=KILL_OTHER, exit=137), [SILENT]),
    (case(kind=KILL_OTHER, exit=125), [SILENT]),
    (case("06", KILL_OTHER, "--kill 0.0@0.0:read:1", call="read 6 0x7ffcb6cd4668 128", exit=137),
     [EXPLAINED]),
    (case("06", KILL_OTHER, "--kill 0.0@0.0:mount:1", call="mount 0x0 / 0x0", exit=137), [SILENT]),
    (case("05", KILL_OTHER, "--kill 0.0@0.0:close_range:1", call="close_range 3 5 0", exit=137),
     [SILENT]),
    (case(kind=KILL_OTHER, exit=125, stderr="05_userns: the child was killed\n"), [TOLD]),
    (case(kind=KILL_OTHER, exit=137, ran=True), [TOLD]),
    (case("08c-bridge", KILL_OTHER, signal=13), [CRASH]),  # D4
    (case("08b-verbose", KILL_OTHER, exit=42, ran=True, changes=ENOSYS, stderr=NO_REPORTER),
     [TOLD]),
    (case("08b-verbose", KILL_OTHER, exit=42, ran=True, changes=ENOSYS), [FEWER_RIGHTS]),
    (case("08c-pasta-user", KILL_OTHER, exit=42, ran=True, stderr=NO_JANITOR, changes={
        "links": ("eth0 lo", "lo"), "routes": ("3", "1")}), [TOLD]),
    (case("08c-pasta-user", KILL_OTHER, exit=42, ran=True, stderr=NO_JANITOR, changes={
        "links": ("lo", "eth0 lo")}), [FAIL_OPEN]),
    (case("bwrap", exit=1, stderr="bwrap: Can't mount: Operation not permitted\n"), [CLEAN]),
    (case("bwrap", exit=1, stderr="bwrap: setting up uid map: No such process\n"),
     [WRONG_MESSAGE]),
    (case("04-init", name="--fail 0.0:wait4:1:ECHILD", call="wait4 -1", error="ECHILD", hung=True),
     [EXPLAINED]),
    (case("11", exit=1, stderr="11_oci: mount(/proc): Operation not permitted\n"), [CLEAN]),
    (case("05", exit=1, stderr="05_userns: mount(/proc): Operation not permitted\n"), [DIFF]),
    (case("11", exit=42, ran=True, left=["file /run/11_oci/faults"], next_exit=42,
          stderr="11_oci: rm -rf faults: Input/output error\nhint: delete --force tries again\n"),
     [TOLERATED, EXPLAINED]),
    (case("11", exit=1, left=["file /run/11_oci/faults"], next_exit=42,
          stderr="11_oci: x(): Operation not permitted\n"), [CLEAN, UNTIDY]),
]


@pytest.mark.parametrize("record, expected", RECORDED)
def test_verdict(record: Record, expected: List[str]) -> None:
    assert verdicts(record) == expected, wrong_message(record)


def test_each_verdict_has_a_recorded_case() -> None:
    seen = {verdict for _, expected in RECORDED for verdict in expected}
    assert seen == {*COLUMNS, MISSED}


def test_records_survive_their_file(tmp_path: pathlib.Path) -> None:
    program = tmp_path / "program"
    program.write_text("1")
    results = Results(tmp_path / "results")
    record = RECORDED[8][0]
    assert results.done("07", FAIL, str(program)) == {}
    results.add(record)
    assert results.done("07", FAIL, str(program)) == {record.case: record}
    program.write_text("2")  # another build: results of the old one do not count
    assert results.done("07", FAIL, str(program)) == {}


# --- What is compared -----------------------------------------------------------------------------

@pytest.mark.parametrize("name, usual, got, expected", [
    ("status CapEff", "0", "1", "weaker"), ("status CapEff", "3", "1", "stronger"),
    ("status NoNewPrivs", "1", "0", "weaker"), ("status Seccomp", "2", "0", "weaker"),
    ("status Groups", "", "4242", "weaker"), ("status Groups", "1 2", "1", "stronger"),
    ("descriptors", "0=pipe", "0=pipe 5=/", "weaker"), ("descriptors", "0=pipe 1=pipe", "0=pipe",
                                                        "other"),
    ("namespace pid", "own", "host", "weaker"), ("namespace cgroup", "own", "host", "cgroup"),
    ("root", "own", "host", "weaker"), ("setgroups", "deny\n", "allow\n", "weaker"),
    ("uid_map", "0 1 1", "0 0 4294967295", "weaker"),
    ("mounts", "/ overlay ro", "/ overlay rw", "weaker"),
    ("mounts", "/a x ro", "/a x ro\n/etc/hosts tmpfs ro", "comfort"),
    ("inside /etc/hosts", "100644", "ENOENT", "comfort"),
    ("inside /etc/hosts", "100644", "100600", "other"),
    ("asked forbidden_calls", '{"outcomes": ["bpf=EPERM"]}', '{"outcomes": ["bpf=EFAULT"]}',
     "weaker"),
    ("asked forbidden_calls", '{"outcomes": ["bpf=EFAULT"]}', '{"outcomes": ["bpf=EPERM"]}',
     "stronger"),
    ("asked forbidden_calls", '{"outcomes": ["bpf=EPERM"]}', '{"died": -1}', "other"),
    ("asked hostname", '{"name": "a"}', '{"name": "b"}', "other"),
])
def test_meaning(name: str, usual: str, got: str, expected: str) -> None:
    assert meaning(name, usual, got) == expected


def test_what_differs_from_run_to_run_is_no_change() -> None:
    one = steady("/case-1/session/containers-under-the-hood-77 n0123456789ab")
    assert one == steady("/case-22/session/containers-under-the-hood-8 nba9876543210")
    assert changes({"a": "1", "b": "2"}, {"a": "1", "b": "3"}) == {"b": ("2", "3")}


def test_mounts_are_compared_by_what_they_show() -> None:
    line = "{} 30 0:{} / /proc rw,nosuid shared:{} - proc proc rw"
    assert mounts_of(line.format(1, 2, 3)) == mounts_of(line.format(4, 5, 6))
    assert mounts_of(line.format(1, 2, 3)) != mounts_of("1 30 0:2 / /proc rw,nosuid - proc proc rw")


# --- What is tried --------------------------------------------------------------------------------

LOG = """call\t0\tbrk\t1\t5\t0x0
call\t0\tfcntl\t1\t0\t0 1
call\t0\tgetuid\t1\t0\t
call\t0\topenat\t1\t3\tAT_FDCWD /etc/hosts 0x80000
call\t0.0\twrite\t1\t4\t3 text
call\t0.0\tprctl\t1\t0\t23 7
call\t0.0\tprctl\t2\t0\t23 21
exec\t0.0
end\t0\texit\t0
"""


def test_faults_are_for_calls_from_main_on() -> None:
    calls = calls_of(LOG)
    assert [call.name for call in calls] == ["fcntl", "getuid", "openat", "write", "prctl",
                                             "prctl"]
    faults = [fault.name for fault in faults_for(calls, FAIL)]
    assert "--fail 0:openat:1:EMFILE" in faults and "--fail 0.0:prctl:2:EPERM" in faults
    assert not [name for name in faults if "getuid" in name]
    assert [fault.error for fault in faults_for(calls, FAIL, quick=True)] == [
        "EPERM", "EMFILE", "ENOSPC", "EPERM", "EINVAL"]  # prctl's second call: its second error
    assert [fault.name for fault in faults_for(calls, RETURN)] == [
        "--return 0.0:write:1:0", "--return 0.0:write:1:1"]
    assert len(list(faults_for(calls, KILL))) == 6
    assert [fault.name for fault in faults_for(calls, KILL_OTHER)] == [
        "--kill 0.0@0.0:write:1", "--kill 0.0@0.0:prctl:1", "--kill 0.0@0.0:prctl:2"]


def test_a_program_that_executes_itself_has_a_second_main() -> None:
    more = LOG.replace("exec\t0.0\n", "".join(f"call\t0\t{call}\n" for call in (
        "execveat\t1\t0\t3", "brk\t2\t5\t0x0", "fcntl\t2\t0\t3 1", "setsid\t1\t0\t")))
    assert [call.name for call in calls_of(more)][-3:] == ["execveat", "fcntl", "setsid"]


def test_of_a_loop_the_first_few_and_the_last_are_tried() -> None:
    begin = "call\t0\tfcntl\t1\t0\t0 1\n"
    resets = "".join(f"call\t0.0\trt_sigaction\t{nth}\t0\t{nth}\n" for nth in range(1, 65))
    lines = "".join(f"call\t0\twrite\t{nth}\t9\t2 05_userns\n" for nth in range(1, 30))
    files = "".join(f"call\t0\topenat\t{nth}\t9\t5 file-{nth} 0x80000\n" for nth in range(1, 9))
    calls = calls_of(begin + resets + lines + files)
    points = [call.point for call in without_loops(calls, cold=False)]
    assert len(points) == 1 + 4 + 4 + 8
    assert "0.0:rt_sigaction:3" in points and "0:write:29" in points
    assert len(without_loops(calls, cold=True)) == 1 + 4 + 4 + 4


@pytest.mark.parametrize("kind", [FAIL, RETURN, KILL, KILL_OTHER, RESTART])
def test_a_case_is_found_by_its_name(kind: str) -> None:
    fault = Fault(kind, Call("0.1", "read", 3, "", ""), "EIO" if kind == FAIL else "")
    assert fault_called(kind, fault.name).words() == fault.words()


# --- What is explained ----------------------------------------------------------------------------

def test_what_is_explained_is_no_wider_than_its_reason() -> None:
    known = Known(HANG, "because", call="wait4 .*", error="ECHILD")
    assert known.explains(HANG, case(call="wait4 -1", error="ECHILD"))
    assert not known.explains(CRASH, case(call="wait4 -1", error="ECHILD"))
    assert not known.explains(HANG, case(call="wait4 -1", error="EINTR"))
    assert not known.explains(HANG, case(call="waitid 1", error="ECHILD"))
    assert not known.explains(HANG, case(kind=KILL, call="wait4 -1"))
    for one in KNOWN:
        assert len(one.because) > 20
        assert one.configuration or one.case or one.call or one.left, "it explains everything"
        assert one.verdict in COLUMNS


# --- What is written ------------------------------------------------------------------------------

def test_only_the_stages_make_a_sweep_fail() -> None:
    """bubblewrap and crun are there for comparison."""
    for name, bad in (("05", [HANG]), ("bwrap", []), ("crun", [])):
        _, found = count(iter([case(name, exit=42, ran=True), case(name, hung=True)]))
        assert [verdict for verdict, _ in found] == [TOLERATED, HANG]
        assert [verdict for verdict, _ in bad_cases(found)] == bad


def test_table(tmp_path: pathlib.Path) -> None:
    table, doubtful = count(iter(record for record, _ in RECORDED))
    text = tables(table)
    assert "### One call fails" in text and "| **all stages** |" in text
    only = one_table("T", [("05", table[FAIL, "05"])])
    row = [line for line in only.splitlines() if line.startswith("| 05 |")][0].split(" | ")
    header = only.splitlines()[2].split(" | ")
    assert row[header.index(classify.HANG)] == "1"
    lines = list(doubtful_lines(bad_cases(doubtful)))
    assert "FAIL-OPEN: 4" in lines
    assert any("--configuration 05-user-maps --kind 'fail'" in line for line in lines)
    assert not any(line.startswith("clean") for line in lines)
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write_into(readme, text)
    write_into(readme, text)
    assert readme.read_text() == f"before\n{BEGIN}\n\n{text}\n{END}\nafter\n"
