"""containerd's shim drives the runtime, by `ctr`."""

from __future__ import annotations

import contextlib
import json
import pathlib
from collections.abc import Iterator

import pexpect
import pytest
from containerd import IMAGE, Containerd, make_containerd
from engine_world import NO_CONTROLLERS, wait_until

__all__ = ["make_containerd"]  # a fixture


@contextlib.contextmanager
def in_background(containerd: Containerd, *words: str) -> Iterator[pathlib.Path]:
    """The container `c` and its cgroup."""
    containerd.do(*containerd.start("--detach", *words))
    try:
        yield containerd.cgroup / "default/c"
    finally:
        containerd.run("ctr", "task", "kill", "--signal", "9", "c")
        ended = wait_until(lambda: status_of(containerd) in ("", "STOPPED"))
        containerd.run("ctr", "task", "rm", "c")
        containerd.do("ctr", "container", "rm", "c")
    assert ended and containerd.leftovers() == []


@pytest.fixture(name="started")
def make_started(containerd):
    """The container `c`, whose command counts, and ends with 7 at SIGTERM."""
    count = containerd.folder / "count"
    count.mkdir(exist_ok=True)
    (count / "lines").unlink(missing_ok=True)
    with in_background(
            containerd, "--mount", f"type=bind,src={count},dst=/count,options=rbind:rw", IMAGE, "c",
            "sh", "-c", "trap 'exit 7' TERM; while :; do echo >>/count/lines; sleep 0.02; done"):
        yield containerd


def task_of(containerd: Containerd, name: str = "c") -> list[str]:
    """Its number in containerd's PID namespace, and its status."""
    for line in containerd.do("ctr", "task", "ls").splitlines():
        if line.split()[0] == name:
            return line.split()[1:]
    return ["", ""]


def status_of(containerd: Containerd, name: str = "c") -> str:
    return task_of(containerd, name)[1]


def lines(containerd: Containerd) -> int:
    path = containerd.folder / "count/lines"
    return len(path.read_text()) if path.exists() else 0


def test_run_ends_as_the_command_does(containerd):
    result = containerd.run(*containerd.start("--rm", IMAGE, "c", "sh", "-c",
                                              "echo out; echo err >&2; exit 3"))
    assert (result.returncode, result.stdout) == (3, "out\n"), result.stderr
    assert "err\n" in result.stderr
    assert containerd.leftovers() == []


def test_exec_joins_the_container(started):
    pid, status = task_of(started)
    assert status == "RUNNING"
    inside = ["ctr", "task", "exec", "--exec-id", "e", "c", "sh", "-c"]

    def namespaces(process: str) -> str:
        names = "mnt pid uts ipc net"
        return f"for name in {names}; do readlink /proc/{process}/ns/$name; done"

    theirs = started.do(*inside, namespaces("self"))
    assert theirs == started.do("sh", "-c", namespaces(pid))
    assert set(theirs.split()).isdisjoint(started.do("sh", "-c", namespaces("self")).split())
    assert started.run(*inside, "exit 5").returncode == 5


def test_ps_lists_its_processes(started):
    started.do("ctr", "task", "exec", "--exec-id", "e", "--detach", "c", "sleep", "1000")
    listed = started.do("ctr", "task", "ps", "c").split()[2::2]
    commands = [started.run("cat", f"/proc/{pid}/cmdline").stdout for pid in listed]
    assert any("trap" in command for command in commands)
    assert "sleep\x001000\x00" in commands


def test_pause_stops_it_and_resume_lets_it_go_on(started):
    assert wait_until(lambda: lines(started) > 0)
    started.do("ctr", "task", "pause", "c")
    assert status_of(started) == "PAUSED"
    before = lines(started)
    refused = started.run("ctr", "task", "exec", "--exec-id", "e", "c", "id")
    assert "cannot exec in a paused" in refused.stderr and refused.returncode == 1
    assert lines(started) == before
    started.do("ctr", "task", "resume", "c")
    assert status_of(started) == "RUNNING"
    assert wait_until(lambda: lines(started) > before)


def test_kill_reaches_the_command(started):
    assert wait_until(lambda: lines(started) > 0)  # and has set its trap
    started.do("ctr", "task", "kill", "--signal", "SIGTERM", "c")
    assert wait_until(lambda: status_of(started) == "STOPPED")
    assert "not found" in started.run("ctr", "task", "kill", "c").stderr  # which engines ignore
    assert "exit code 7" in started.run("ctr", "task", "rm", "c").stderr


def test_a_terminal(containerd):
    with containerd.terminal(*containerd.start("--rm", "--tty", IMAGE, "c", "sh")) as terminal:
        # ctr tells the size after the start.
        terminal.sendline("tty; until stty size 2>/dev/null | grep 12; do sleep 0.1; done; exit 4")
        terminal.expect(r"/dev/pts/0\s+12 34\s")
        terminal.expect(pexpect.EOF)
        terminal.close()
        assert terminal.exitstatus == 4
    assert containerd.leftovers() == []


@pytest.mark.parametrize("command, error", [
    ("nothere", '"nothere": executable file not found in $PATH'),
    ("/etc", "exec /etc: Permission denied")])
def test_what_cannot_be_executed_is_told_and_leaves_nothing(containerd, command, error):
    for _ in range(2):  # its id can be used again
        result = containerd.run(*containerd.start("--rm", IMAGE, "c", command))
        assert result.returncode != 0 and error in result.stderr
        assert containerd.leftovers() == []


def test_what_ctr_asks_for(containerd):
    result = containerd.run(*containerd.start(
        "--rm", "--seccomp", "--read-only", "--env", "A=b", "--cwd", "/tmp", "--cap-drop",
        "CAP_CHOWN", "--device", "/dev/full", "--mount",
        f"type=bind,src={containerd.folder},dst=/x,options=rbind:ro", IMAGE, "c", "sh", "-c",
        "echo $A; pwd; grep -e CapEff -e ^Seccomp: -e NoNewPrivs /proc/self/status;"
        "touch /x/new /new; cat /x/config.toml >/dev/full"))
    out = result.stdout.split()
    assert out[:2] == ["b", "/tmp"], result.stderr
    seen = dict(zip(out[2::2], out[3::2]))
    assert int(seen["CapEff:"], 16) & 1 == 0 and int(seen["CapEff:"], 16) != 0
    assert (seen["NoNewPrivs:"], seen["Seccomp:"]) == ("1", "2")
    assert result.stderr.count("Read-only file system") == 2
    assert "No space left" in result.stderr  # it is the device


def test_user_namespace(containerd):
    out = containerd.do(*containerd.start(
        "--rm", "--uidmap", "0:200000:1000", "--gidmap", "0:200000:1000", IMAGE, "c", "sh", "-c",
        "id -u; stat -c %u /bin; cat /proc/self/uid_map"))
    assert out.split() == ["0", "0", "0", "200000", "1000"]
    assert containerd.leftovers() == []


def test_namespace_of_another_container(started):
    pid, _ = task_of(started)
    out = started.do(*started.start("--rm", "--with-ns", f"pid:/proc/{pid}/ns/pid", IMAGE, "d",
                                    "sh", "-c", "readlink /proc/self/ns/pid; cat /proc/1/comm"))
    assert out.split() == [started.do("readlink", f"/proc/{pid}/ns/pid").strip(), "sh"]


# --- Limits --------------------------------------------------------------------------------------


@pytest.fixture(name="limited")
def make_limited(containerd):
    if not containerd.has_controllers():
        pytest.skip(NO_CONTROLLERS)
    return containerd


MEMORY = 50_000_000 // 4096 * 4096


def test_limits_are_set(limited):
    with in_background(limited, "--memory-limit", "50000000", "--cpus", "0.5", IMAGE, "c", "sleep",
                       "1000") as cgroup:
        assert (cgroup / "memory.max").read_text() == f"{MEMORY}\n"
        assert (cgroup / "cpu.max").read_text() == "50000 100000\n"
        assert (cgroup / "cpu.weight").read_text() == "39\n"  # of 1024 shares


def test_metrics(limited):
    def metrics() -> dict:
        return json.loads(limited.do("ctr", "task", "metrics", "--format", "json", "c"))

    with in_background(limited, "--memory-limit", "50000000", IMAGE, "c", "sh", "-c",
                       "while :; do :; done"):
        assert wait_until(lambda: int(metrics()["cpu"].get("usage_usec", 0)) > 1000)
        seen = metrics()
        assert 0 < int(seen["memory"]["usage"]) < MEMORY == int(seen["memory"]["usage_limit"])
        assert int(seen["pids"]["current"]) == 1


def test_a_container_without_memory_is_killed(limited):
    result = limited.run(*limited.start("--rm", "--memory-limit", "20000000", IMAGE, "c",
                                        "tail", "/dev/zero"))
    assert result.returncode == 137, result.stderr
