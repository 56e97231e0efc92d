"""Stage 04: PID, UTS, mount, IPC and time namespaces."""

from __future__ import annotations

import os
import pathlib
import secrets
import signal
import socket
import subprocess
import time

import pytest
from conftest import (check_that_no_kill_of_the_parent_leaves_the_container, children_of, name_of,
                      processes_with, wait_until)

STAGE = "04_namespaces"


def test_the_namespaces_are_its_own(root):
    with root.start(STAGE, "sh", "-c", "echo ready; read wait", stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        own = {kind: os.readlink(f"/proc/{process.child()}/ns/{kind}")
               != os.readlink(f"/proc/self/ns/{kind}")
               for kind in ("pid", "uts", "mnt", "ipc", "time", "net", "user")}
        process.communicate("\n", timeout=30)
    assert own == {"pid": True, "uts": True, "mnt": True, "ipc": True, "time": True, "net": False,
                   "user": False}


def test_the_host_name_is_its_own(root):
    before = socket.gethostname()
    assert root.output(STAGE, "hostname") == STAGE
    name = "x" * 64
    assert root.output(STAGE, "--hostname", name, "hostname") == name
    assert root.output(STAGE, "sh", "-c", "hostname other; hostname") == "other"
    assert socket.gethostname() == before


@pytest.mark.parametrize("name", ["", "x" * 65])
def test_a_host_name_that_is_none_is_refused(root, name):
    result = root.run(STAGE, "--hostname", name, "sh")
    assert result.returncode == 125
    assert result.stderr == (f"{STAGE}: --hostname {name}: "
                             f"a host name has 1 to 64 characters, not {len(name)}\n")


@pytest.mark.parametrize("given, uptime", [((), 0), (("--uptime", "86400"), 86400)])
def test_the_uptime_is_its_own(root, given, uptime):
    told = root.output(STAGE, *given, "cut", "-d.", "-f1", "/proc/uptime")
    assert uptime <= int(told) < uptime + 60


@pytest.mark.parametrize("uptime", ["", "-1", "1.5", "1h", "4611686019", "99999999999999999999"])
def test_an_uptime_that_is_none_is_refused(root, uptime):
    result = root.run(STAGE, "--uptime", uptime, "sh")
    assert result.returncode == 125
    assert result.stderr == (f"{STAGE}: --uptime {uptime}: "
                             "is not a number of seconds from 0 to 4611686018\n")


@pytest.mark.as_shipped
def test_a_kernel_without_time_namespaces_matters_only_to_who_asks(root):
    no_file = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", "/proc/self/ns/time_for_children",
               "-e", "inject=access,faccessat,faccessat2:error=ENOENT"]
    assert root.output(STAGE, "echo", "ran", before=no_file) == "ran"
    result = root.run(STAGE, "--uptime", "0", "echo", "ran", before=no_file)
    assert (result.returncode, result.stdout) == (125, "")
    assert f"{STAGE}: --uptime: this kernel has no time namespaces\nhint: " in result.stderr


@pytest.mark.as_shipped
@pytest.mark.parametrize("call", ["unshare", "setns"])
def test_a_time_namespace_that_cannot_be_had_is_no_start(root, call):
    result = root.run(STAGE, "echo", "ran", before=[
        "strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:error=EPERM"])
    assert (result.returncode, result.stdout) == (125, "")


def test_proc_shows_the_containers_processes(root):
    shown = root.output(STAGE, "sh", "-c", "echo $$; for p in /proc/[0-9]*; do echo $p; done")
    assert shown.split() == ["1", "/proc/1"]


def test_mounts_stay_inside(root):
    before = pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    script = "mount -t tmpfs inside /mnt && touch /mnt/x && grep -c inside /proc/mounts"
    assert root.output(STAGE, "sh", "-c", script) == "1"
    assert pathlib.Path("/proc/self/mountinfo").read_text(encoding="utf-8") == before


def test_mounts_are_private_even_where_the_host_shares_them(root):
    """systemd makes / shared. Here that is arranged in a mount namespace of the test's own."""
    script = f"""
        mount --make-rshared /
        {root.program(STAGE)} sh -c 'mount -t tmpfs inside /mnt; echo inside $?'
        grep -c inside /proc/self/mountinfo
        true"""
    result = subprocess.run(["unshare", "--mount", "--propagation", "unchanged", "sh", "-c",
                             "mount --make-rprivate / && unshare --mount sh -c \"$0\"", script],
                            capture_output=True, text=True, check=True)
    assert result.stdout == "inside 0\n0\n"


def test_init_reaps_orphans(root):
    # The orphan's parent ends at once; PID 1 must reap it when it ends.
    script = """
        sh -c 'sleep 0.1 & exit'
        sleep 0.3
        grep -l 'State:.Z' /proc/[0-9]*/status 2>/dev/null | wc -l"""
    assert root.output(STAGE, "--init", "sh", "-c", script) == "0"


def test_init_is_pid_1_and_the_command_2(root):
    assert root.output(STAGE, "--init", "sh", "-c", "echo $$ $PPID") == "2 1"
    assert root.run(STAGE, "--init", "sh", "-c", "exit 3").returncode == 3
    assert root.run(STAGE, "--init", "sh", "-c", "kill -KILL $$").returncode == 137
    assert root.run(STAGE, "--init", "no-such").returncode == 127


def test_init_holds_nothing_of_the_host_open(root):
    script = "cd /proc/1/fd; for n in *; do readlink $n; done; true"
    shown = root.output(STAGE, "--init", "sh", "-c", script)
    assert {line.split(":")[0] for line in shown.splitlines()} <= {
        "/dev/null", "pipe", "anon_inode"}, shown


def test_init_does_not_show_how_it_was_called(root):
    """The command line of PID 1 is for all processes to read, and names files of the host."""
    shown = root.output(STAGE, "--init", "-e", "KEY=told", "cat", "/proc/1/cmdline")
    assert shown.rstrip("\0") == "init"


@pytest.mark.parametrize("options", [[], ["--init"]], ids=["direct", "init"])
def test_the_container_dies_with_a_killed_parent(root, options):
    mark = f"31{secrets.randbelow(10**9)}"
    with root.start(STAGE, *options, "sh", "-c", f"sleep {mark} & echo ready; wait") as process:
        assert process.stdout.readline() == "ready\n"
        assert processes_with(mark)
        process.kill()
    assert wait_until(lambda: not processes_with(mark)), processes_with(mark)


@pytest.mark.parametrize("options", [[], ["--init"]], ids=["direct", "init"])
def test_the_container_dies_with_a_killed_parent_though_it_has_revoked_that(root, options):
    """By the call that the stage has made: prctl(PR_SET_PDEATHSIG, 0)."""
    mark = secrets.token_hex(16)
    revoke = ("import ctypes, time; ctypes.CDLL(None).prctl(1, 0); print('ready', flush=True); "
              "time.sleep(60)")
    with root.start(STAGE, "--rootfs", "/", *options, "/usr/bin/python3", "-c", revoke,
                    mark) as process:
        assert process.stdout.readline() == "ready\n"
        assert processes_with(mark)
        process.kill()
        assert wait_until(lambda: len(processes_with(mark)) == 0), processes_with(mark)


@pytest.mark.as_shipped
def test_the_container_dies_with_a_parent_killed_at_any_system_call(root, tmp_path):
    check_that_no_kill_of_the_parent_leaves_the_container(root, STAGE, tmp_path)


def test_the_container_dies_with_a_parent_that_is_dead_before_the_child_asks_for_it(root):
    """strace holds the child just before prctl(PR_SET_PDEATHSIG), and the parent is killed then."""
    delay = ["strace", "-f", "-o", "/dev/null", "-e", "inject=prctl:delay_enter=300000"]
    with root.start(STAGE, "sh", "-c", "sleep 1000; true", before=delay) as strace:
        assert wait_until(lambda: STAGE in map(name_of, children_of(strace.pid)))
        parent, = children_of(strace.pid)
        assert wait_until(lambda: children_of(parent))
        pid_1 = children_of(parent)[0]
        time.sleep(0.1)
        os.kill(parent, signal.SIGKILL)
        ended = wait_until(lambda: not name_of(pid_1))
        if not ended:
            os.kill(pid_1, signal.SIGKILL)
        assert ended


@pytest.mark.as_shipped
def test_a_parent_that_nothing_could_watch_ends_with_the_container(root):
    """In a PID namespace of its own, because a number that was not checked would be kill(-1)."""
    before = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "strace", "-qq",
              "-o", "/dev/null", "-e", "inject=clone:error=EAGAIN"]
    result = root.run(STAGE, "sleep", "1000", before=before)
    assert (result.returncode, result.stderr) == (
        125, f"{STAGE}: fork(): Resource temporarily unavailable\n")


def test_a_signal_that_pid_1_cannot_get_is_explained_and_the_third_kills(root):
    with root.start(STAGE, "sleep", "1000") as process:
        assert wait_until(lambda: name_of(process.child()) == "sleep")
        for count in range(3):
            process.send_signal(signal.SIGTERM)
            if count == 0:
                assert process.stderr.readline() == (
                    f"{STAGE}: PID 1 has no handler for SIGTERM, so the kernel discards it\n")
                assert "--init" in process.stderr.readline()
            time.sleep(0.5)  # two that wait are one: signals of a kind do not queue
        assert process.wait(30) == 137


def test_a_hang_up_that_pid_1_cannot_get_ends_the_container(root):
    with root.start(STAGE, "sleep", "1000") as process:
        assert wait_until(lambda: name_of(process.child()) == "sleep")
        process.send_signal(signal.SIGHUP)
        assert process.wait(30) == 137


def test_a_hang_up_that_is_ignored_on_purpose_does_not(root):
    with root.start(STAGE, "sleep", "1000", before=["nohup"]) as process:
        assert wait_until(lambda: name_of(process.child()) == "sleep")
        process.send_signal(signal.SIGHUP)
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(0.5)


@pytest.mark.as_shipped
def test_init_that_fails_says_so_before_the_command_runs(root):
    fault = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=signalfd4:error=EMFILE:when=1"]
    result = root.run(STAGE, "--init", "echo", "it ran", before=fault)
    assert (result.returncode, result.stdout) == (125, "")
    assert "signalfd(): Too many open files" in result.stderr


def test_init_makes_the_same_signal_end_the_command(root):
    with root.start(STAGE, "--init", "sleep", "1000") as process:
        assert wait_until(lambda: "sleep" in map(name_of, children_of(process.child())))
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (128 + signal.SIGTERM, "")


@pytest.mark.as_shipped  # with a sanitizer it needs libraries, which are not inside
@pytest.mark.parametrize("how", ["script", "link"])
def test_a_root_cannot_make_the_stage_run_inside(root, tmp_path, how):
    """CVE-2019-5736: there, /proc/1/exe would be a file of the host that the container may change.

    The root has a tar where the host has the stage's, and a tar(1), which older stages called.
    """
    inside = tmp_path / "root"
    program = pathlib.Path(root.program(STAGE))
    for folder in ("bin", "proc", f"{program.parents[2]}/rootfs".lstrip("/")):
        (inside / folder).mkdir(parents=True)
    (inside / f"{program.parents[2]}/rootfs/rootfs.tar".lstrip("/")).write_bytes(b"")
    (inside / "bin/busybox").write_bytes(pathlib.Path("/bin/busybox").read_bytes())
    for name in ("sh", "chmod"):
        (inside / "bin" / name).symlink_to("busybox")
    (inside / "bin/tar").write_text("#!/bin/sh\nchmod 4755 /proc/1/exe\n")
    if how == "script":
        (inside / "bin/hello").write_text("#!/proc/self/exe\n")
    else:
        (inside / "bin/hello").symlink_to("/proc/self/exe")
    for name in ("busybox", "tar"):
        (inside / "bin" / name).chmod(0o755)
    if how == "script":
        (inside / "bin/hello").chmod(0o755)
    before = program.stat()
    result = root.run(STAGE, "--rootfs", inside, "/bin/hello", "/bin/tar")
    assert program.stat() == before
    assert result.returncode == 125
    assert "this program's file is outside this container" in result.stderr


def test_an_ordinary_user_is_told_what_to_do(user):
    result = user.run(STAGE, "sh")
    assert result.returncode == 125
    assert "needs root" in result.stderr
