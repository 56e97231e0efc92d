"""Stage 08b: few rights for root inside, few system calls; as root and as an ordinary user."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import shutil
import signal
import struct
import subprocess
import tempfile
from collections.abc import Iterator

import pytest
from conftest import (check_that_no_kill_of_the_parent_leaves_the_container, children_of,
                      processes_with, wait_until)

STAGE = "08b_seccomp"
DOCKERS = 0xa80425fb  # the capabilities that docker run grants
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
MOUNT = ("mount", "-t", "tmpfs", "none", "/mnt")
# As root another user than 0 can be mapped.
OTHER_USER = ("--uid-map", "0:100000:10", "--gid-map", "0:100000:10", "-u", "5:5")


def status(pid: int) -> dict[str, str]:
    lines = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def status_of_container(caller, *options: str) -> tuple[dict[str, str], dict[str, str]]:
    """/proc/PID/status of the command and of the stage's parent, as the host sees them."""
    with caller.start(STAGE, *options, "sh", "-c", "echo ready; read wait",
                      stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        return status(process.child()), status(process.pid)


def sets_of(process: dict[str, str]) -> list[int]:
    return [int(process[name], 16) for name in SETS]


def test_the_host_sees_few_capabilities_and_a_filter(caller):
    inside, parent = status_of_container(caller)
    assert sets_of(inside) == [0, DOCKERS, DOCKERS, DOCKERS, 0]
    assert inside["NoNewPrivs"] == "1"
    assert inside["Seccomp"] == "2"
    own = status(os.getpid())
    assert int(inside["Seccomp_filters"]) == int(own["Seccomp_filters"]) + 1
    for name in ("NoNewPrivs", "Seccomp", "Seccomp_filters", "CapBnd"):
        assert parent[name] == own[name], f"{name} of the parent"


@pytest.mark.parametrize("options, capabilities", [
    (["--cap-add", "SYS_TIME"], DOCKERS | 1 << 25),
    (["--cap-add", "cap_sys_time", "--cap-add", "SYS_NICE"], DOCKERS | 1 << 25 | 1 << 23),
    (["--cap-drop", "NET_RAW"], DOCKERS & ~(1 << 13)),
    (["--cap-drop", "ALL"], 0),
    (["--cap-drop", "all", "--cap-add", "KILL"], 1 << 5),
])
def test_capabilities_are_added_and_dropped(caller, options, capabilities):
    inside, _ = status_of_container(caller, *options)
    assert sets_of(inside) == [0, capabilities, capabilities, capabilities, 0]


def test_all_capabilities(caller):
    inside, _ = status_of_container(caller, "--cap-add", "ALL", "--cap-drop", "SYS_ADMIN")
    known = int(pathlib.Path("/proc/sys/kernel/cap_last_cap").read_text())
    everything = (1 << known + 1) - 1 & ~(1 << 21)
    assert sets_of(inside) == [0, everything, everything, everything, 0]


@pytest.mark.parametrize("option", ["--cap-add", "--cap-drop"])
@pytest.mark.parametrize("name, hint", [
    ("SYS_ADMN", "did you mean SYS_ADMIN?"),
    ("cap_kil", "did you mean KILL?"),
    ("everything", "man 7 capabilities lists them"),
    ("", "man 7 capabilities lists them"),
])
def test_an_unknown_capability_is_refused(caller, option, name, hint):
    result = caller.run(STAGE, option, name, "true")
    assert result.returncode == 125
    assert result.stderr == f"{STAGE}: {option} {name}: is not a capability\nhint: {hint}\n"


def test_another_user_has_no_capabilities(root):
    inside, _ = status_of_container(root, *OTHER_USER, "--cap-add", "SYS_TIME")
    assert inside["Uid"].split() == ["100005"] * 4
    assert sets_of(inside) == [0, 0, 0, DOCKERS | 1 << 25, 0]


def test_a_user_without_a_way_to_become_him_works(root):
    """--cap-drop ALL removes CAP_SETUID from the command, not from the stage that starts it."""
    inside, _ = status_of_container(root, *OTHER_USER, "--cap-drop", "ALL")
    assert inside["Uid"].split() == ["100005"] * 4
    assert sets_of(inside) == [0] * 5


def test_a_set_user_id_program_gives_nothing(root, folder_of_user):
    """The host's id(1), made a set-user-ID program of the container's root."""
    tree = folder_of_user / "tree"
    root.output(STAGE, "--userspace", "minimal", "--with", "id", "--rootfs", tree, "id")
    subprocess.run(["chown", "-R", "100000:100000", tree], check=True)
    subprocess.run(["chmod", "4755", tree / "usr/bin/id"], check=True)
    words = ("--rootfs", tree, *OTHER_USER)
    assert root.output(STAGE, *words, "id", "-u") == "5"
    assert root.output(STAGE, *words, "--no-new-privs=false", "id", "-u") == "0"


@pytest.mark.parametrize("options", [[], ["--init"]])
def test_without_no_new_privs_the_filter_is_there_all_the_same(caller, options):
    script = "grep -E '^(NoNewPrivs|Seccomp|CapEff)' /proc/self/status"
    out = caller.output(STAGE, *options, "--no-new-privs=false", "sh", "-c", script)
    filters = int(status(os.getpid())["Seccomp_filters"]) + 1
    assert out.split() == ["CapEff:", f"{DOCKERS:016x}", "NoNewPrivs:", "0", "Seccomp:", "2",
                           "Seccomp_filters:", str(filters)]


def test_root_inside_cannot_lift_what_hides_the_kernels_files(caller):
    script = """
        umount /proc/keys; umount /proc/sys; mount -o remount,rw /proc/sys
        mount -t proc proc /mnt; unshare -U -m umount /proc/keys"""
    result = caller.run(STAGE, "sh", "-c", script + "; cat /proc/keys /proc/timer_list")
    assert result.stdout == ""
    # busybox says so in two ways.
    assert len(re.findall("Operation not permitted|permission denied", result.stderr)) == 5


@pytest.mark.parametrize("capability, seccomp, works", [
    ("KILL", "default", False), ("SYS_ADMIN", "default", True), ("SYS_ADMIN", "strict", False),
    ("KILL", "unconfined", False),
])
def test_the_profile_follows_the_capabilities(caller, capability, seccomp, works):
    result = caller.run(STAGE, "--cap-add", capability, "--seccomp", seccomp, *MOUNT)
    assert (result.returncode == 0) == works, result.stderr


def test_unconfined_has_no_filter(caller):
    inside, _ = status_of_container(caller, "--seccomp", "unconfined")
    assert inside["Seccomp_filters"] == status(os.getpid())["Seccomp_filters"]
    assert inside["NoNewPrivs"] == "1"


def test_a_shell_works(caller):
    shell = caller.terminal(STAGE, "/bin/sh")
    shell.expect_exact(f"{STAGE}:/# ")
    shell.sendline("sleep 60 & kill $! && ls / | grep -c tmp; echo pi''pe | tr a-z A-Z")
    shell.expect_exact("1\r\nPIPE\r\n")
    shell.sendline("umount /proc")
    shell.expect_exact("can't unmount /proc: Operation not permitted")
    shell.sendline("exit 5")
    shell.expect_exact("host$ ")
    shell.sendline("echo status $?")
    shell.expect_exact("status 5\r\n")


STRICT_SHELL = """
    mkdir /tmp/a && cd /tmp/a && echo text >x && ln -s x y && mv x z && cat z | sed s/t/T/
    rm y z
    cd / && rmdir /tmp/a && (sleep 0.01; exit 3) & wait $!; echo $?
    id -u; hostname; date >/dev/null && ps >/dev/null && df >/dev/null && find /etc >/dev/null
    cp -r /etc /tmp/etc && tar c /tmp/etc 2>/dev/null | gzip | gunzip | tar t >/dev/null &&
        echo done"""


def test_a_shell_and_busybox_work_under_strict(caller):
    out = caller.output(STAGE, "--seccomp", "strict", "sh", "-c", STRICT_SHELL)
    assert out.split() == ["Text", "3", "0", STAGE, "done"]


PYTHON = """
import asyncio, os, socket, subprocess, tempfile, threading
thread = threading.Thread(target=print, args=("thread",))
thread.start()
thread.join()
print(subprocess.run(["sh", "-c", "exit 4"]).returncode)
with tempfile.TemporaryDirectory() as place:
    with open(place + "/x", "w") as file:
        file.write("x" * 100000)
    os.rename(place + "/x", place + "/y")
    print(os.stat(place + "/y").st_size)
here, there = socket.socketpair()
here.send(b"sent")
print(there.recv(9).decode())
socket.socket(socket.AF_INET).close()
print(asyncio.run(asyncio.sleep(0.01, "slept")))
netlink = socket.AF_NETLINK, socket.SOCK_RAW
for forbidden in (lambda: os.chroot("/"), lambda: socket.socket(*netlink)):
    try:
        forbidden()
        print("allowed")
    except PermissionError:
        print("forbidden")
"""


@pytest.mark.parametrize("seccomp", ["default", "strict"])
def test_python_works(caller, seccomp):
    library = "/usr/lib/python" + subprocess.run(
        ["/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        check=True, capture_output=True, text=True).stdout.strip()
    out = caller.output(STAGE, "--userspace", "minimal", "--with", "python3", "--with", library,
                        "--with", "sh", "--seccomp", seccomp, "python3", "-c", PYTHON)
    refused = {"default": ["allowed", "allowed"], "strict": ["forbidden", "forbidden"]}[seccomp]
    assert out.split() == ["thread", "4", "100000", "sent", "slept", *refused]


# --- Profiles in files --------------------------------------------------------------------------


def write_profile(folder: pathlib.Path, profile: object) -> pathlib.Path:
    path = folder / "profile.json"
    path.write_text(profile if isinstance(profile, str) else json.dumps(profile))
    path.chmod(0o644)
    return path


def denying(*names: str, action: str = "SCMP_ACT_ERRNO", error: int = 1) -> dict:
    return {"defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": list(names), "action": action, "errnoRet": error}]}


def test_a_profile_in_a_file(caller, folder):
    path = write_profile(folder, denying("mkdir", "mkdirat", error=95))
    result = caller.run(STAGE, "--seccomp", path, "mkdir", "/dev/shm/x")
    assert result.returncode == 1
    assert "Not supported" in result.stderr or "not supported" in result.stderr
    # A relative path, a second time, from the cache; changed; the same name.
    words = ("--seccomp", path.name, "mkdir", "/dev/shm/y")
    assert caller.run(STAGE, *words, cwd=folder).returncode == 1
    write_profile(folder, denying("rmdir"))
    assert caller.run(STAGE, *words, cwd=folder).returncode == 0


def test_an_old_entry_of_the_cache_is_not_believed(caller, folder):
    """Two profiles with the same hash must not be confused."""
    path = write_profile(folder, denying("mkdir", "mkdirat"))
    cache = folder / "cache"
    cache.mkdir()
    if os.geteuid() == 0:
        os.chown(cache, caller.uid, caller.uid)
    environment = {**caller.environment(), "XDG_CACHE_HOME": str(cache)}

    def run() -> int:
        words = ("--seccomp", path, "mkdir", "/dev/shm/x")
        return caller.run(STAGE, *words, env=environment).returncode

    assert run() == 1
    entry, = (cache / "containers-under-the-hood").glob("seccomp-*")
    (entry / "profile").write_text("another")
    allow_all = bytes([0x06, 0, 0, 0, 0, 0, 0xff, 0x7f])  # BPF_RET SECCOMP_RET_ALLOW
    (entry / "program").write_bytes(allow_all)
    assert run() == 1
    shutil.rmtree(entry)


@pytest.mark.as_shipped
def test_a_filter_that_was_written_in_part_is_neither_used_nor_kept(caller, folder):
    """libseccomp exports with one write(2), and calls it a success if that wrote less."""
    profile = {**denying("mkdir", "mkdirat"), "newestSyscall": "mount_setattr"}
    words = ("--seccomp", write_profile(folder, profile), "mkdir", "/dev/shm/x")
    environment = {**caller.environment(), "XDG_CACHE_HOME": str(folder / "cache")}
    if os.geteuid() == 0:
        os.chown(folder, caller.uid, caller.uid)
    strace = ["strace", "-qq", "-o", "/dev/null", "-e", "inject=write:retval=8:when=1"]
    for before in (strace, []):
        result = caller.run(STAGE, *words, env=environment, before=before)
        assert result.returncode == 1
        assert "Operation not permitted" in result.stderr


def test_no_place_for_a_cache_is_no_reason_to_fail(user, folder_of_user):
    path = write_profile(folder_of_user, denying("mkdir", "mkdirat"))
    (folder_of_user / "tree/bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), folder_of_user / "tree/bin/mkdir")
    result = user.run(STAGE, "--rootfs", folder_of_user / "tree", "--seccomp", path, "mkdir",
                      "/dev/shm/x", env={**user.environment(), "XDG_CACHE_HOME": "/proc/none"})
    assert result.returncode == 1
    assert "Operation not permitted" in result.stderr


@pytest.fixture
def folder_of_user(user):
    path = pathlib.Path(tempfile.mkdtemp(prefix="folder-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def test_the_filter_is_the_last_call(caller, folder):
    """All that builds the container may be forbidden: what remains is execve(2)."""
    path = write_profile(folder, denying(
        "capset", "setresuid", "setresgid", "chdir", "close_range", "mount", "seccomp",
        "move_mount", "poll", "read", "fork", "sendmsg", "mkdirat", action="SCMP_ACT_KILL_PROCESS"))
    for options in ([], ["--init"], ["--no-new-privs=false"]):
        # `true` of busybox makes none of them.
        result = caller.run(STAGE, *options, "-w", "/tmp", "--seccomp", path, "true")
        assert (result.returncode, result.stderr) == (0, ""), options


@pytest.mark.parametrize("profile, message", [
    ("{", r"parse error at line 1, column 2: .*"),
    ("[]", "must be an object"),
    ({}, "defaultAction: is missing"),
    ({"defaultAction": "SCMP_ACT_NOTIFY"}, "defaultAction: SCMP_ACT_NOTIFY needs .*"),
    (denying("mkidr"), r"syscalls\[0\].names\[0\]: unknown system call mkidr"),
    ("large", "is larger than 1 MiB, too large for a profile"),
])
def test_a_profile_that_is_none_is_refused(caller, folder, profile, message):
    path = write_profile(folder, " " * 2_000_000 if profile == "large" else profile)
    result = caller.run(STAGE, "--seccomp", path, "echo", "started")
    assert result.returncode == 125
    assert result.stdout == ""
    assert re.fullmatch(f"{STAGE}: --seccomp {path}: {message}\n", result.stderr), result.stderr


@pytest.mark.parametrize("path, message", [
    ("/no/such/file", "No such file or directory"), ("/etc", "Is a directory"),
    ("", "No such file or directory"), ("defualt", "No such file or directory")])
def test_a_profile_that_is_not_there(caller, path, message):
    result = caller.run(STAGE, "--seccomp", path, "true")
    assert result.returncode == 125
    assert result.stderr.startswith(f"{STAGE}: --seccomp {path}: ")
    assert message in result.stderr


def test_a_profile_that_kills(caller, folder):
    path = write_profile(folder, denying("mkdir", "mkdirat", action="SCMP_ACT_KILL_PROCESS"))
    result = caller.run(STAGE, "--seccomp", path, "mkdir", "/dev/shm/x")
    assert result.returncode == 128 + signal.SIGSYS
    message, _ = result.stderr.splitlines()
    assert message.endswith("it made a system call that the seccomp profile kills")


@pytest.mark.as_shipped
@pytest.mark.parametrize("flags, seen", [
    (["SECCOMP_FILTER_FLAG_LOG"], "SECCOMP_FILTER_FLAG_LOG"),
    (["SECCOMP_FILTER_FLAG_SPEC_ALLOW"], "SECCOMP_FILTER_FLAG_SPEC_ALLOW"), ([], "0")])
def test_the_profiles_flags_are_handed_to_the_kernel(caller, folder, flags, seen):
    path = write_profile(folder, {**denying("mkdir"), "flags": flags})
    trace = folder / "trace"
    trace.touch()
    trace.chmod(0o666)
    caller.output(STAGE, "--seccomp", path, "true", before=[
        "strace", "-f", "-qq", "-o", str(trace), "-e", "trace=seccomp"])
    assert f"seccomp(SECCOMP_SET_MODE_FILTER, {seen}, " in trace.read_text()


def test_an_unknown_flag_is_refused(caller, folder):
    path = write_profile(folder, {**denying("mkdir"), "flags": ["SECCOMP_FILTER_FLAG_X"]})
    result = caller.run(STAGE, "--seccomp", path, "true")
    assert result.returncode == 125
    assert result.stderr == (f"{STAGE}: --seccomp {path}: flags[0]: unknown flag"
                             " SECCOMP_FILTER_FLAG_X\n")


def elf32() -> bytes:
    """A program for i386 that makes a system call: exit(7)."""
    code = bytes.fromhex("31c0 40 bb07000000 cd80")  # eax = 1, ebx = 7, int 0x80
    start = 0x8048000
    header = b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack(
        "<HHIIIIIHHHHHH", 2, 3, 1, start + 84, 52, 0, 0, 52, 32, 1, 0, 0, 0)
    return header + struct.pack("<IIIIIIII", 1, 0, start, start, 84 + len(code), 84 + len(code), 5,
                                4096) + code


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="only x86_64 runs programs of i386")
@pytest.mark.parametrize("options", [[], ["--init"]])
def test_a_32_bit_program_that_is_killed_is_told_apart_from_a_crash(caller, folder, options):
    program = folder / "program"
    program.write_bytes(elf32())
    program.chmod(0o755)
    words = (*options, "-v", f"{program}:/program:ro", "/program")
    result = caller.run(STAGE, *words)
    assert result.returncode == 128 + signal.SIGSYS
    message, hint = result.stderr.splitlines()
    assert message == (f"{STAGE}: the command was killed by SIGSYS: it made a system call of"
                       " another architecture, as 32-bit programs do")
    assert "--seccomp unconfined" in hint
    assert caller.run(STAGE, "--seccomp", "unconfined", *words).returncode == 7
    path = write_profile(folder, {**denying("mkdir"), "archMap": [
        {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        {"architecture": "SCMP_ARCH_ABACUS", "subArchitectures": ["SCMP_ARCH_SLIDE_RULE"]}]})
    assert caller.run(STAGE, "--seccomp", path, *words).returncode == 7


# --- What --verbose tells -----------------------------------------------------------------------


def told(result: subprocess.CompletedProcess) -> list[str]:
    return [line.split("denied  ")[1] for line in result.stderr.splitlines() if "denied  " in line]


def test_verbose_tells_which_call_was_denied(caller):
    result = caller.run(STAGE, "--verbose", "sh", "-c",
                        "mount -t tmpfs x /mnt; unshare -U true; hostname y; exit 3")
    assert result.returncode == 3
    assert told(result) == ["mount() = EPERM, called by mount",
                            "unshare() = EPERM, called by unshare",
                            "sethostname() = EPERM, called by hostname"]
    assert result.stderr.count("Operation not permitted") + \
        result.stderr.count("permission denied") == 3


def test_verbose_tells_the_profiles_errno(caller, folder):
    path = write_profile(folder, denying("mkdir", "mkdirat", error=95))
    result = caller.run(STAGE, "--verbose", "--seccomp", path, "mkdir", "/dev/shm/x")
    assert result.returncode == 1
    assert re.fullmatch(r"mkdir(at)?\(\) = (ENOTSUP|EOPNOTSUPP), called by mkdir", told(result)[0])


def test_verbose_works_where_the_listener_cannot_be_sent(caller, folder):
    path = write_profile(folder, denying("sendmsg", "mkdir", "mkdirat"))
    result = caller.run(STAGE, "--verbose", "--seccomp", path, "mkdir", "/dev/shm/x")
    assert result.returncode == 1
    assert "Operation not permitted" in result.stderr
    assert not told(result)


def has_listener(process: int) -> bool:
    return any("seccomp notify" in os.readlink(fd)
               for fd in pathlib.Path(f"/proc/{process}/fd").iterdir())


@contextlib.contextmanager
def reported(caller, script: str) -> Iterator[tuple[subprocess.Popen, int]]:
    """A container with --verbose that has started, and its reporter of denied calls."""
    with caller.start(STAGE, "--verbose", "sh", "-c", f"echo ready; read x; {script}",
                      stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        assert wait_until(lambda: any(map(has_listener, children_of(process.pid))))
        reporter, = filter(has_listener, children_of(process.pid))
        yield process, reporter


def test_a_reporter_that_is_killed_is_told_and_lets_no_call_pass(caller):
    with reported(caller, "hostname y; exit 3") as (process, reporter):
        os.kill(reporter, signal.SIGKILL)
        err = process.communicate("\n", timeout=30)[1]
    assert process.returncode == 3
    assert "Function not implemented" in err
    assert err.endswith(f"{STAGE}: the reporter of denied calls was killed by SIGKILL; from then on"
                        " such calls failed with ENOSYS\n")


def test_a_reporter_that_ends_before_its_parent_looks_has_not_failed(caller):
    with reported(caller, ":") as (process, reporter):
        process.send_signal(signal.SIGSTOP)
        process.stdin.write("\n")
        process.stdin.flush()
        status = pathlib.Path(f"/proc/{reporter}/status")
        assert wait_until(lambda: "State:\tZ" in status.read_text())
        process.send_signal(signal.SIGCONT)
        assert "reporter" not in process.communicate(timeout=30)[1]


def test_verbose_leaves_no_process(caller):
    before = set(processes_with(STAGE))
    with caller.start(STAGE, "--verbose", "sh", "-c", "echo ready; sleep 60") as process:
        assert process.stdout.readline() == "ready\n"
    assert wait_until(lambda: set(processes_with(STAGE)) <= before)


@pytest.mark.as_shipped
@pytest.mark.parametrize("error", ["EINVAL", "EACCES"])
def test_without_its_filter_nothing_starts(caller, error):
    result = caller.run(STAGE, "echo", "started", before=[
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject=seccomp:error={error}"])
    assert result.returncode == 125
    assert result.stdout == ""
    assert f"{STAGE}: seccomp(SECCOMP_SET_MODE_FILTER" in result.stderr
    assert "CONFIG_SECCOMP_FILTER" not in result.stderr  # which this kernel has


@pytest.mark.as_shipped
@pytest.mark.parametrize("call", ["capset", "prctl"])
def test_without_its_set_up_nothing_starts(caller, call):
    result = caller.run(STAGE, "echo", "started", before=[
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:error=EPERM"])
    assert result.returncode == 125
    assert result.stdout == ""


@pytest.mark.as_shipped
@pytest.mark.parametrize("error", ["EPERM", "EINVAL"])
@pytest.mark.parametrize("call, number", [("capget", 1), ("prctl", 3), ("prctl", 13),
                                          ("prctl", 38), ("prctl", 43)])
def test_what_fails_about_capabilities_is_no_reason_to_leave_them(caller, call, number, error):
    """The kernel returns EINVAL for a capability that it does not have, and a filter around us may
    return it for any: that must not look like the end of the list."""
    result = caller.run(STAGE, "--cap-drop", "ALL", "--no-new-privs=false", "grep", "Cap",
                        "/proc/self/status", before=[
                            "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={call}",
                            "-e", f"inject={call}:error={error}:when={number}"])
    if result.returncode == 0:
        assert all(line.endswith("0" * 16) for line in result.stdout.splitlines()), result.stdout
        return
    assert result.returncode == 125
    assert f"{STAGE}: {call}(" in result.stderr


@pytest.mark.as_shipped
def test_the_container_dies_with_a_parent_killed_at_any_system_call(user):
    check_that_no_kill_of_the_parent_leaves_the_container(user, STAGE, user.home)
