"""Stage 07: limits that hold; as root and as an ordinary user. Most of it needs cgroup v2."""

from __future__ import annotations

import fcntl
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
from conftest import (Caller, check_that_no_kill_of_the_parent_leaves_the_container,
                      directories_open_at, wait_until)

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


needs_any_v2 = pytest.mark.skipif(v2_mount() is None, reason="needs cgroup v2")


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
           "cgroup": given, "session": session}
    clean = wait_until(lambda: not list(given.rglob(PREFIX + "*")))
    for cgroup in sorted(given.rglob("*/"), reverse=True):  # the next test has a clean one
        if cgroup.is_dir():
            cgroup.rmdir()
    given.rmdir()
    assert clean, "a cgroup was left"


def ours(cgroup: pathlib.Path) -> list[pathlib.Path]:
    return sorted(cgroup.glob(PREFIX + "*"))


def check_that_a_start_sweeps(caller: Caller, cgroup: pathlib.Path, **how) -> None:
    """A start removes what killed ones have left, once the last of their processes has ended."""

    def swept() -> bool:
        caller.run(STAGE, "true", **how)
        try:
            return not list(cgroup.rglob(PREFIX + "*"))
        except FileNotFoundError:  # one of them has just been removed
            return False
    assert wait_until(swept)


@pytest.mark.parametrize("words, message", [
    (["--cpus", "0"], r"must be between 0\.01 and \d+, the number of CPUs here"),
    (["--cpus", "-1"], r"must be between 0\.01 and \d+, the number of CPUs here"),
    (["--cpus", "1e9"], r"must be between 0\.01 and \d+, the number of CPUs here"),
    (["--cpus", "abc"], r"is not a number of CPUs, such as 0\.5"),
    (["--memory", "3k"], "is less than 1m, which is too little for a container to start"),
    (["--memory", "99999999999g"], "is more than the kernel can count"),
    (["--memory", "many"], "is not a size; use a number with an optional suffix b, k, m or g, such"
                           " as 64m or 0.5g"),
    (["--pids-limit", "0"], "must be a number of processes between 1 and 4194304"),
    (["--io-max", "/dev/no-such-disk:wbps=1m"], "/dev/no-such-disk: No such file or directory"),
    (["--io-max", "/dev/null:wbps=1m"], "/dev/null is not a block device"),
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
    before = ours(v2_mount())
    result = caller.run(STAGE, *words, "echo", "started")
    assert (result.returncode, result.stdout) == (125, "")
    message, hint = result.stderr.splitlines()
    assert re.fullmatch(f"{STAGE}: the .* controller is in use by cgroup v1 here; this stage needs"
                        " v2",
                        message)
    assert "bazel run //harness/vm" in hint
    assert ours(v2_mount()) == before


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
@pytest.mark.parametrize("options, score, policy", [
    (["-m", "64m"], 0, os.SCHED_OTHER), (["--cpus", "0.5"], 0, os.SCHED_OTHER),
    ([], -1000, os.SCHED_FIFO)])
def test_a_limit_holds_for_a_caller_that_is_exempt(caller, place, options, score, policy):
    def enter() -> None:
        pathlib.Path("/proc/self/oom_score_adj").write_text("-1000")
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        place["how"]["preexec_fn"]()

    with caller.start(STAGE, *options, "sh", "-c", "echo; read wait", stdin=subprocess.PIPE,
                      **{**place["how"], "preexec_fn": enter}) as process:
        process.stdout.readline()
        child = process.child()
        found = (int(pathlib.Path(f"/proc/{child}/oom_score_adj").read_text()),
                 os.sched_getscheduler(child))
        process.communicate("\n", timeout=10)
    assert found == (score, policy)


@needs_v2
def test_out_of_memory_kills_all_of_it_and_is_told(caller, place):
    script = "sleep 60 & x=a; while :; do x=$x$x; done"
    result = caller.run(STAGE, "-m", "16m", "sh", "-c", script, **place["how"])
    assert result.returncode == 137
    assert result.stderr.splitlines() == [
        f"{STAGE}: out of memory: the container exceeded 16777216 bytes and was killed",
        "hint: raise the limit with --memory"]


@needs_v2
def test_the_disk_is_limited(caller, place):
    """2 MiB at 1 MiB/s. Written to a disk: a tmpfs has none."""
    if "io" not in (v2_mount() / "cgroup.controllers").read_text().split():
        pytest.skip("needs cgroup v2 with io: cgroups_vm_test has it")
    data = pathlib.Path(tempfile.mkdtemp(dir="/var/tmp"))
    data.chmod(0o777)  # root inside is not its owner, for either caller
    device = os.stat(data).st_dev
    disk = f"{os.major(device)}:{os.minor(device)}"

    try:
        start = time.monotonic()
        result = caller.run(STAGE, "--io-max", f"{disk}:wbps=1m", "-v", f"{data}:/data", "dd",
                            "if=/dev/zero", "of=/data/file", "bs=64k", "count=32", "conv=fsync",
                            **place["how"])
        assert result.returncode == 0, result.stderr
        assert time.monotonic() - start > 1.8  # without it, 0.4
    finally:
        shutil.rmtree(data)


@pytest.fixture
def partition(tmp_path: pathlib.Path) -> Iterator[str]:
    """Of a disk that is a file."""
    if os.geteuid() != 0:
        pytest.skip("makes a disk: needs root")
    with open(tmp_path / "disk", "wb") as file:
        file.truncate(1 << 20)
    subprocess.run(["modprobe", "loop"], check=True)
    words = ["losetup", "--find", "--show", "--partscan", file.name]
    disk = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    try:
        subprocess.run(["addpart", disk, "1", "8", "8"], check=True)
        yield f"{disk}p1"
    finally:
        subprocess.run(["losetup", "--detach", disk], check=True)


@needs_v2  # and not the disks of a machine that is no virtual one
def test_the_limit_of_a_partition_is_refused(caller, partition):
    """The kernel has limits for whole disks only, and its own message is "No such device"."""
    device = os.stat(partition).st_rdev
    for name in (partition, f"{os.major(device)}:{os.minor(device)}"):
        result = caller.run(STAGE, "--io-max", f"{name}:wbps=1m", "true")
        assert result.returncode == 125
        assert result.stderr.splitlines() == [
            f"{STAGE}: --io-max {name}:wbps=1m: {name} is a partition, but the kernel limits only"
            " whole disks", "hint: lsblk lists them"]


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
                        ("memory.oom.group", "1")):
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


def make_left(caller: Caller, parent: pathlib.Path, name: str = "4194303") -> pathlib.Path:
    """A cgroup as a killed parent leaves it; no process has this number."""
    left = parent / f"{PREFIX}{name}"
    left.mkdir()
    for path in (left, *left.iterdir()):
        os.chown(path, caller.uid, caller.uid)
    return left


@needs_any_v2
def test_a_cgroup_that_is_locked_is_in_use(caller, place):
    """Its parent's number comes from another PID namespace: here it belongs to no process, or to
    another one."""
    for name in ("4194303", "1", "other"):
        other = make_left(caller, place["session"], name)
        with open(other / "cgroup.kill", "wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert caller.run(STAGE, "true", **place["how"]).returncode == 0
            assert other.exists()
        assert caller.run(STAGE, "true", **place["how"]).returncode == 0
        assert not other.exists()


@needs_any_v2
def test_a_stranger_cannot_keep_what_is_left(caller, place):
    """Every user may open the directory of a cgroup, and hold a lock on it."""
    left = make_left(caller, place["session"])
    folder = os.open(left, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_SH)
    assert caller.run(STAGE, "true", **place["how"]).returncode == 0
    os.close(folder)
    assert not left.exists()
    if caller.uid == 0:  # and no other user may open the file that is locked
        with caller.start(STAGE, "sh", "-c", "echo ready; read wait", stdin=subprocess.PIPE,
                          **place["how"]) as process:
            assert process.stdout.readline() == "ready\n"
            assert [cgroup.stat().st_mode & 0o777 for cgroup in (
                ours(place["session"])[0] / "cgroup.kill", ours(place["session"])[0])] == [
                    0o200, 0o755]
            process.communicate("\n", timeout=10)


@needs_any_v2
def test_cgroups_of_any_depth_are_removed(caller, place):
    """Deeper than a process may have descriptors, and with a path that is too long for a name."""
    left = make_left(caller, place["session"])
    folder = os.open(left, os.O_RDONLY)
    for _ in range(1300):
        os.mkdir("nested", dir_fd=folder)
        below = os.open("nested", os.O_RDONLY, dir_fd=folder)
        os.chown(below, caller.uid, caller.uid)
        os.close(folder)
        folder = below
    os.close(folder)
    result = caller.run(STAGE, "true", **place["how"], before=["prlimit", "--nofile=64"])
    assert (result.returncode, result.stderr) == (0, "")
    assert not left.exists()


@needs_any_v2
@pytest.mark.as_shipped
def test_a_start_does_not_open_the_cgroups_of_the_living(caller, folder, place):
    """As many opens with 200 containers as with one: PID 1 stands for a parent that lives."""
    def opens() -> int:
        trace = folder / "trace"
        caller.run(STAGE, "true", **place["how"],
                   before=["strace", "-o", str(trace), "-e", "trace=open,openat,flock"])
        return len(trace.read_text().splitlines())

    alone = opens()
    fakes = [place["session"] / f"{PREFIX}1-{number}" for number in range(200)]
    locks = []
    for fake in fakes:
        fake.mkdir()
        os.chown(fake / "cgroup.kill", caller.uid, caller.uid)
        locks.append(open(fake / "cgroup.kill", "wb"))
        fcntl.flock(locks[-1], fcntl.LOCK_EX)
    try:
        assert opens() <= alone + 20
        assert all(fake.exists() for fake in fakes)
    finally:
        for lock, fake in zip(locks, fakes):
            lock.close()
            fake.rmdir()


@needs_any_v2
@pytest.mark.as_shipped
def test_the_hosts_cgroups_are_closed_before_the_container_names_anything(caller, place):
    """A path that the container chooses is looked up later, such as a volume's, and /proc/self/fd/N
    is such a path."""
    for call in ("sethostname", "prctl"):
        found = directories_open_at(caller, STAGE, call, "true", **place["how"])
        assert [path for path in found if "cgroup" in path] == []
    check_that_a_start_sweeps(caller, place["cgroup"], **place["how"])


@needs_any_v2
@pytest.mark.as_shipped
@pytest.mark.parametrize("inject", ["flock:error=ENOLCK", "chmod:error=EPERM",
                                    "openat:error=EMFILE:when={opens}"])
def test_a_cgroup_that_cannot_be_locked_is_not_left(caller, folder, place, inject):
    trace = folder / "trace"
    caller.run(STAGE, "true", **place["how"], before=["strace", "-o", str(trace)])
    opens = [line for line in trace.read_text().splitlines() if line.startswith("openat(")]
    number = next(i for i, line in enumerate(opens, start=1) if "cgroup.kill" in line)
    result = caller.run(STAGE, "true", **place["how"], before=[
        "strace", "-o", "/dev/null", "-e", f"inject={inject.format(opens=number)}"])
    assert result.returncode == 0, "it starts in its caller's cgroup"
    assert ours(place["session"]) == []


@needs_any_v2
@pytest.mark.as_shipped  # UBSan makes a pipe to look at an object's type, and aborts if it cannot
@pytest.mark.parametrize("descriptors", range(4, 16))
def test_few_descriptors_leave_no_cgroup(caller, place, descriptors):
    caller.run(STAGE, "true", **place["how"], before=["prlimit", f"--nofile={descriptors}"])
    assert ours(place["session"]) == []


@needs_any_v2
@pytest.mark.as_shipped
@pytest.mark.parametrize("path", ["/proc/self/cgroup", "/proc/self/mountinfo"])
def test_what_cannot_be_read_is_named(caller, folder, place, path):
    trace = folder / "trace"
    strace = ["strace", "-o", str(trace), "-e", "trace=openat,read"]
    caller.run(STAGE, "--memory", "64m", "true", **place["how"], before=strace)
    calls = trace.read_text().splitlines()
    opened = next(i for i, call in enumerate(calls) if f'"{path}"' in call)
    number = sum(call.startswith("read(") for call in calls[:opened]) + 1
    result = caller.run(STAGE, "--memory", "64m", "true", **place["how"], before=[
        *strace, "-e", f"inject=read:error=EIO:when={number}"])
    assert result.returncode == 125
    assert result.stderr == f"{STAGE}: read({path}): Input/output error\n"


@needs_any_v2
def test_in_a_threaded_cgroup_it_starts_in_the_next_one_that_is_none(caller, place):
    """Its children would be "domain invalid", which no process can be in."""
    threads = place["session"] / "threads"
    threads.mkdir()
    (threads / "cgroup.type").write_text("threaded")
    try:
        result = caller.run(STAGE, "--verbose", "cat", "/proc/self/cgroup", **place["how"])
        assert result.returncode == 0
        assert "0::/" in result.stdout.splitlines()
        assert f"mkdir({place['cgroup']}/{PREFIX}" in result.stderr
    finally:
        threads.rmdir()


@needs_any_v2
def test_the_callers_umask_does_not_close_it(caller, place):
    with caller.start(STAGE, "sh", "-c", "echo ready; read wait", stdin=subprocess.PIPE,
                      umask=0o077, **place["how"]) as process:
        assert process.stdout.readline() == "ready\n"
        assert ours(place["session"])[0].stat().st_mode & 0o777 == 0o755
        process.communicate("\n", timeout=10)


@needs_v2
def test_a_limit_above_is_blamed_if_it_was_that(caller, place):
    (place["cgroup"] / "cgroup.subtree_control").write_text("+memory")
    (place["cgroup"] / "memory.max").write_text("16m")
    script = "x=a; while :; do x=$x$x; done"
    result = caller.run(STAGE, "-m", "64m", "sh", "-c", script, **place["how"])
    assert result.returncode == 137
    message, hint = result.stderr.splitlines()
    assert message == (f"{STAGE}: out of memory: all processes in {place['cgroup']} together"
                       " exceeded its limit of 16777216 bytes, and the container was killed")
    assert "raise" in hint and "memory.max" in hint


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
    assert "root may make one: start it with sudo" in hint or "systemd-run --user --scope" in hint


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


@needs_any_v2
@pytest.mark.as_shipped
def test_without_a_limit_it_is_moved_there_too(root):
    before = ["strace", "-D", "-o", "/dev/null", "-e", "inject=clone3:error=ENOSYS:when=1"]
    with root.start(STAGE, "sh", "-c", "echo ready; exec sleep 1000", before=before) as process:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        cgroups = pathlib.Path(f"/proc/{process.child()}/cgroup").read_text()
        assert "/containers-under-the-hood-" in cgroups.partition("0::")[2], cgroups


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
    if v2_mount() is not None:
        check_that_a_start_sweeps(root, v2_mount())
