"""Stage 07: limits that hold; as root and as an ordinary user. Most of it needs cgroup v2."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator

import pytest
from conftest import Caller, check_that_no_kill_of_the_parent_leaves_the_container, wait_until

STAGE = "07_cgroups"
PREFIX = "containers-under-the-hood-"


def v2_mount() -> pathlib.Path | None:
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup2 " in line:
            return pathlib.Path(line.split()[4])
    return None


def has_controllers() -> bool:
    top = v2_mount()
    return top is not None and {"cpu", "memory", "pids"} <= set(
        (top / "cgroup.controllers").read_text().split())


needs_v2 = pytest.mark.skipif(not has_controllers(),
                              reason="needs cgroup v2 with cpu, memory and pids: cgroups_vm_test"
                                     " has it")
needs_v1 = pytest.mark.skipif(has_controllers() or v2_mount() is None,
                              reason="needs a host whose controllers are in cgroup v1")


@pytest.fixture
def place(caller: Caller) -> Iterator[dict]:
    """How to start the stage in a cgroup that belongs to the caller, below one that does, too."""
    if os.geteuid() != 0:
        pytest.skip("makes a cgroup for the caller: needs root")
    top = v2_mount()
    there = (top / "cgroup.controllers").read_text().split()
    handed_on = [f"+{name}" for name in ("cpu", "memory", "pids", "io") if name in there]
    (top / "cgroup.subtree_control").write_text(" ".join(handed_on))
    given = top / f"test-{caller.name}"
    session = given / "session"
    session.mkdir(parents=True)
    for cgroup in (given, session):
        for path in (cgroup, cgroup / "cgroup.procs", cgroup / "cgroup.subtree_control"):
            os.chown(path, caller.uid, caller.uid)

    def enter() -> None:
        (session / "cgroup.procs").write_text("0")
        if caller.uid != 0:
            os.setgroups([])
            os.setgid(caller.uid)
            os.setuid(caller.uid)

    # `user` of Popen would come before preexec_fn.
    yield {"how": {"preexec_fn": enter, "user": None, "group": None, "extra_groups": None},
           "cgroup": given}
    assert wait_until(lambda: not list(given.glob(PREFIX + "*"))), "a cgroup was left"
    session.rmdir()
    given.rmdir()


def ours(cgroup: pathlib.Path) -> list[pathlib.Path]:
    return sorted(cgroup.glob(PREFIX + "*"))


@pytest.mark.parametrize("words, message", [
    (["--cpus", "0"], r"is not from 0\.01 to \d+, which this machine has"),
    (["--cpus", "-1"], r"is not from 0\.01 to \d+, which this machine has"),
    (["--cpus", "1e9"], r"is not from 0\.01 to \d+, which this machine has"),
    (["--cpus", "abc"], r"is no number of CPUs, such as 0\.5"),
    (["--memory", "3k"], "is less than 1m, with which no container starts"),
    (["--memory", "99999999999g"], "is more than the kernel can count"),
    (["--memory", "many"], "is no size such as 64m: a number, and perhaps b, k, m or g"),
    (["--pids-limit", "0"], "is no number of processes from 1 to 4194304"),
    (["--io-max", "/dev/no-such-disk:wbps=1m"], "/dev/no-such-disk: No such file or directory"),
    (["--io-max", "/dev/null:wbps=1m"], "/dev/null is no block device"),
    (["--io-max", "4095:0:wbps=1m"], "this machine has no disk 4095:0"),
])
def test_a_wrong_limit_is_refused(caller, words, message):
    result = caller.run(STAGE, *words, "true")
    assert result.returncode == 125
    first, *hint = result.stderr.splitlines()
    assert re.fullmatch(f"{STAGE}: {words[0]} {words[1]}: {message}", first), first
    assert len(hint) <= 1


@needs_v1
@pytest.mark.not_in_vm
@pytest.mark.parametrize("words", [["--cpus", "0.5"], ["-m", "64m"], ["--pids-limit", "9"],
                                   ["--stats"]])
def test_on_cgroup_v1_the_vm_is_named(caller, words):
    before = list(v2_mount().iterdir())
    result = caller.run(STAGE, *words, "echo", "started")
    assert (result.returncode, result.stdout) == (125, "")
    message, hint = result.stderr.splitlines()
    assert re.fullmatch(f"{STAGE}: cgroup v1 has the .* controller here; this stage needs v2",
                        message)
    assert "bazel run //harness/vm" in hint
    assert list(v2_mount().iterdir()) == before


def test_without_limits_it_starts_everywhere(caller):
    result = caller.run(STAGE, "cat", "/proc/self/cgroup")
    assert (result.returncode, result.stderr) == (0, "")
    assert "0::/" in result.stdout.splitlines()
    assert all(line.endswith(":/") for line in result.stdout.splitlines() if "memory" not in line)


def test_no_other_cgroup_is_seen(caller):
    names = caller.output(STAGE, "sh", "-c", "cd /sys/fs/cgroup; ls -d */ 2>/dev/null; true")
    assert names == ""


def test_where_there_is_no_cgroup_verbose_tells_why(user):
    if os.geteuid() != 0:  # started from the root of the hierarchy, which is not this user's
        pytest.skip("an ordinary user may have been given a part of the tree")
    told = user.run(STAGE, "--verbose", "true").stderr
    assert "no cgroup of its own: " in told


@needs_v2
def test_each_limit_is_set_and_seen_inside(caller, place):
    options = ["--cpus", "0.5", "-m", "64m", "--pids-limit", "32"]
    with caller.start(STAGE, *options, "sh", "-c",
                      "cd /sys/fs/cgroup; cat cpu.max memory.max pids.max; read wait",
                      stdin=subprocess.PIPE, **place["how"]) as process:
        assert [process.stdout.readline() for _ in range(3)] == [
            "50000 100000\n", "67108864\n", "32\n"]
        cgroup, = ours(place["cgroup"])
        for name, value in (("memory.oom.group", "1"), ("memory.max", "67108864"),
                            ("memory.swap.max", "0")):
            if (cgroup / name).exists():
                assert (cgroup / name).read_text() == value + "\n"
        assert str(process.child()) in (cgroup / "cgroup.procs").read_text().split()
        process.communicate("\n", timeout=10)
    assert ours(place["cgroup"]) == []


@needs_v2
def test_out_of_memory_kills_all_of_it_and_is_told(caller, place):
    script = "sleep 60 & x=a; while :; do x=$x$x; done"
    result = caller.run(STAGE, "-m", "16m", "sh", "-c", script, **place["how"])
    assert result.returncode == 137
    assert result.stderr.splitlines() == [
        f"{STAGE}: out of memory: it needed more than 16777216 bytes, and was killed",
        "hint: --memory gives it more"]


@needs_v2
def test_the_disk_is_limited(caller, place):
    """2 MiB at 1 MiB/s. Written to a disk: a tmpfs has none."""
    if "io" not in (v2_mount() / "cgroup.controllers").read_text().split():
        pytest.skip("needs cgroup v2 with io: cgroups_vm_test has it")
    data = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp"))
    os.chown(data, caller.uid, caller.uid)
    device = os.stat(data).st_dev
    disk = f"{os.major(device)}:{os.minor(device)}"

    try:
        start = time.monotonic()
        result = caller.run(STAGE, "--io-max", f"{disk}:wbps=1m", "-v", f"{data}:/data", "dd",
                            "if=/dev/zero", "of=/data/file", "bs=64k", "count=32", "conv=fsync",
                            **place["how"])
        assert result.returncode == 0, result.stderr
        assert time.monotonic() - start > 1.8  # else 0.4
    finally:
        shutil.rmtree(data)


@needs_v2
def test_stats(caller, place):
    result = caller.run(STAGE, "--stats", "--cpus", "0.1", "sh", "-c",
                        "timeout 1 sh -c 'while :; do :; done'; true", **place["how"])
    figures = dict(re.fullmatch(rf"{STAGE}: (\w+ \w+|\w+) +(.*)", line).groups()
                   for line in result.stderr.splitlines() if line.startswith(STAGE))
    assert set(figures) == {"CPU time", "throttled", "peak memory", "OOM kills"}
    assert 0.05 < float(figures["CPU time"].split()[0]) < 0.5
    assert float(figures["throttled"].split()[0]) > 0.3
    assert figures["OOM kills"] == "0"


@needs_v2
def test_verbose_shows_each_file_and_value(root):
    result = root.run(STAGE, "--verbose", "--cpus", "0.5", "-m", "64m", "true")
    for name, value in (("cpu.max", "50000 100000"), ("memory.max", "67108864"),
                        ("memory.oom.group", "1"), ("cgroup.kill", "1")):
        assert re.search(rf'write\(/sys/fs/cgroup/\S*{PREFIX}\d+/{name}, "{value}"\) = ',
                         result.stderr), name


@needs_v2
def test_a_killed_parents_cgroup_goes_with_the_next_start(caller, place):
    with caller.start(STAGE, "-m", "64m", "sh", "-c", "echo ready; sleep 60",
                      **place["how"]) as first, \
            caller.start(STAGE, "-m", "64m", "sh", "-c", "echo ready; read wait",
                         stdin=subprocess.PIPE, **place["how"]) as second:
        assert first.stdout.readline() == second.stdout.readline() == "ready\n"
        first.kill()
        first.wait()
        left, used = sorted(ours(place["cgroup"]),
                            key=lambda path: str(first.pid) not in path.name)
        assert wait_until(lambda: (left / "cgroup.procs").read_text() == "")
        assert caller.run(STAGE, "-m", "64m", "true", **place["how"]).returncode == 0
        assert ours(place["cgroup"]) == [used], "the one in use stays, the other is gone"
        second.communicate("\n", timeout=10)
        assert second.returncode == 0


@needs_v2
def test_a_cgroup_with_the_same_name_that_is_in_use_is_nobodys_to_take(caller, place):
    other = place["cgroup"] / f"{PREFIX}other"
    other.mkdir()
    os.chown(other, caller.uid, caller.uid)
    with subprocess.Popen(["flock", "--exclusive", other, "sleep", "60"]) as holder:
        try:
            time.sleep(0.2)
            assert caller.run(STAGE, "-m", "64m", "true", **place["how"]).returncode == 0
            assert other.exists()
        finally:
            subprocess.run(["pkill", "-P", str(holder.pid)], check=False)
    assert caller.run(STAGE, "-m", "64m", "true", **place["how"]).returncode == 0
    assert not other.exists()


@needs_v2
def test_ctrl_c_leaves_no_cgroup(caller, place):
    with caller.start(STAGE, "-m", "64m", "sh", "-c", "trap 'exit 3' INT; echo ready; "
                      "while :; do sleep 0.05; done", **place["how"]) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 3
    assert ours(place["cgroup"]) == []


@needs_v2
def test_without_delegation_the_user_is_told_what_to_do(user):
    if os.geteuid() != 0:
        pytest.skip("starts it from a cgroup that is not the user's: needs root")
    result = user.run(STAGE, "-m", "64m", "true")
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    assert re.fullmatch(f"{STAGE}: a cgroup of its own in /sys/fs/cgroup.*: Permission denied",
                        message)
    assert "root may: start it with sudo" in hint or "systemd-run --user --scope" in hint


@needs_v2
@pytest.mark.as_shipped
@pytest.mark.parametrize("error", ["ENOSYS", "EINVAL", "E2BIG"])
def test_a_kernel_that_cannot_clone_into_a_cgroup(root, error):
    """The first clone3() fails, as before Linux 5.7: the parent then moves the child."""
    before = ["strace", "-o", "/dev/null", "-e", f"inject=clone3:error={error}:when=1"]
    result = root.run(STAGE, "-m", "64m", "--verbose", "cat", "/proc/self/cgroup",
                      "/sys/fs/cgroup/memory.max", before=before)
    assert result.stdout.splitlines()[-2:] == ["0::/", "67108864"]
    assert re.search(r'cgroup\.procs, "\d+"\) = ', result.stderr)


def read_only_cgroups(script: str) -> subprocess.CompletedProcess:
    top = v2_mount()
    return subprocess.run(["unshare", "--mount", "sh", "-c",
                           f"mount -o bind,remount,ro {top}; {script}"],
                          capture_output=True, text=True, timeout=30, check=False)


@needs_v2
def test_a_read_only_mount_is_named(root):
    result = read_only_cgroups(f"{root.program(STAGE)} -m 64m true")
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    assert message == f"{STAGE}: a cgroup of its own in {v2_mount()}: Read-only file system"
    assert "docker run --privileged" in hint
    assert read_only_cgroups(f"{root.program(STAGE)} true").returncode == 0


@pytest.mark.as_shipped
def test_the_container_dies_with_a_parent_killed_at_any_system_call(root):
    check_that_no_kill_of_the_parent_leaves_the_container(root, STAGE, root.home)
    root.run(STAGE, "true")
    if v2_mount() is not None:
        left = list(v2_mount().rglob(PREFIX + "*"))
        assert left == [], "the next start removes what is left"
