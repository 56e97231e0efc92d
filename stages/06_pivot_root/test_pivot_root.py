"""Stage 06: the host's file system is gone; as root and as an ordinary user."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest
from conftest import check_that_no_kill_of_the_parent_leaves_the_container, fingerprint, give_to

STAGE = "06_pivot_root"


def mount_table(caller, *options: str) -> dict[str, set[str]]:
    """Mount point -> its flags, read on the host from the container's mountinfo."""
    with caller.start(STAGE, *options, "sh", "-c", "echo ready; read wait",
                      stdin=subprocess.PIPE) as process:
        assert process.stdout.readline() == "ready\n"
        lines = pathlib.Path(f"/proc/{process.child()}/mountinfo").read_text().splitlines()
    return {line.split()[4]: set(line.split()[5].split(",")) for line in lines}


def test_nothing_of_the_host_is_mounted_any_more(caller):
    table = mount_table(caller)
    expected = {"/", "/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue",
                *(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))}
    assert expected <= table.keys()
    assert all(point in expected or point.startswith(("/proc/", "/sys/")) for point in table)


def test_a_second_chroot_does_not_lead_out(caller, folder):
    """The way out of stages 02 to 05: keep a directory above the root, and walk up from it."""
    (folder / "secret").write_text("host")
    script = f"""
        mkdir -p /tmp/jail && cd / && chroot /tmp/jail true 2>/dev/null
        cd / && for i in 1 2 3 4 5 6 7 8 9; do cd ..; done
        cat .{folder}/secret 2>/dev/null || echo shut"""
    assert caller.output(STAGE, "sh", "-c", script) == "shut"


def test_dev_has_the_usual_devices(caller):
    script = """
        echo lost >/dev/null; head -c 3 /dev/zero | od -An -tx1; head -c 9 /dev/urandom | wc -c
        echo full >/dev/full; cat /dev/fd/0 </etc/hostname; ls -l /dev/stdout | sed 's/.*-> //'
        echo x >/dev/shm/x && cat /dev/shm/x; ls /dev/pts"""
    result = caller.run(STAGE, "--hostname", "x", "sh", "-c", script)
    assert [line.strip() for line in result.stdout.splitlines()] == [
        "00 00 00", "9", "/proc/self/fd/1", "x", "ptmx"]
    assert "No space left on device" in result.stderr  # from /dev/full
    listed = caller.output(STAGE, "ls", "/dev").split()
    assert listed == sorted(["fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm",
                             "stderr", "stdin", "stdout", "tty", "urandom", "zero"])


@pytest.mark.parametrize("path", [
    "/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys",
    "/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug",
    "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"])
def test_masked_paths_are_empty(root, path):
    if not os.path.exists(path):
        assert root.run(STAGE, "test", "-e", path).returncode == 1  # this kernel has none
    elif os.path.isdir(path):
        assert root.output(STAGE, "ls", path) == ""
    else:
        assert root.output(STAGE, "cat", path) == ""


def test_read_only_paths_are_read_only(caller):
    table = mount_table(caller)
    for path in ("/proc/sys", "/proc/irq", "/proc/fs", "/proc/bus", "/proc/sysrq-trigger", "/sys"):
        assert "ro" in table[path] if os.path.exists(path) else path not in table
    result = caller.run(STAGE, "sh", "-c", "echo x >/proc/sys/kernel/domainname")
    assert result.returncode != 0
    assert "Read-only file system" in result.stderr


def test_volumes(caller, folder):
    (folder / "in").write_text("from the host\n")
    give_to(caller, folder)
    script = "cat /data/in && echo from inside >/data/out && cat /one/file"
    out = caller.output(STAGE, "-v", f"{folder}:/data", "-v", f"{folder}/in:/one/file:ro", "sh",
                        "-c", script)
    assert out == "from the host\nfrom the host"
    assert (folder / "out").read_text() == "from inside\n"
    assert (folder / "out").stat().st_uid == caller.uid


def test_a_read_only_volume_cannot_be_written(caller, folder):
    (folder / "file").write_text("kept")
    give_to(caller, folder)
    script = "echo x >/data/file; echo x >/data/new; rm /data/file; true"
    result = caller.run(STAGE, "-v", f"{folder}:/data:ro", "sh", "-c", script)
    assert result.stderr.count("Read-only file system") == 3
    assert (folder / "file").read_text() == "kept"
    assert os.listdir(folder) == ["file"]


def test_a_volume_brings_no_device_and_no_set_user_id(caller, folder):
    table = mount_table(caller, "-v", f"{folder}:/data")
    assert {"nosuid", "nodev"} <= table["/data"]
    assert "nodev" in table["/"]


@pytest.mark.parametrize("volume, message", [
    ("x", "is not HOST:CONTAINER[:ro]"),
    (":/data", "is not HOST:CONTAINER[:ro]"),
    ("/tmp:data", "CONTAINER must be an absolute path below /"),
    ("/tmp:/", "CONTAINER must be an absolute path below /"),
    ("/tmp:/../..", "CONTAINER must be an absolute path below /"),
    ("/tmp:/data:rx", "ends in 'rx', not in ro or rw"),
    ("/no/such:/data", "No such file or directory"),
])
def test_a_wrong_volume_is_refused(caller, volume, message):
    result = caller.run(STAGE, "-v", volume, "true")
    assert result.returncode == 125
    assert result.stderr == f"{STAGE}: --volume {volume}: {message}\n"


def test_read_only_root(caller):
    script = "echo x >/tmp/x; mkdir /new; echo x >/dev/shm/x && echo shm"
    result = caller.run(STAGE, "--read-only", "sh", "-c", script)
    assert result.stdout == "shm\n"
    assert result.stderr.count("Read-only file system") == 2


@pytest.mark.parametrize("name", ["proc", "sys", "dev", "data"])
@pytest.mark.parametrize("target", ["absolute", "relative", "dangling", "loop"])
def test_a_hostile_root_touches_nothing_outside(caller, folder, programs, name, target):
    """`name` in the root is a symbolic link that leads, on the host, to the victim."""
    victim = folder / "victim"
    tree = folder / "tree"
    (victim / "kept").mkdir(parents=True)
    (tree / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), tree / "bin" / "busybox")
    os.symlink("busybox", tree / "bin" / "sh")
    os.symlink({"absolute": str(victim), "relative": "../" * 20 + str(victim)[1:],
                "dangling": f"{victim}/absent", "loop": name}[target], tree / name)
    give_to(caller, folder)
    before = fingerprint(victim)

    result = caller.run(STAGE, "--rootfs", tree, "-v", f"{programs}:/data/deep/down:ro",
                        "sh", "-c", "echo started")
    assert fingerprint(victim) == before
    assert result.returncode == 125, "a root whose link leads nowhere inside cannot be set up"
    assert result.stdout == ""
    expected = r"\w+\(/data.*\): (No such file or directory|Too many levels of symbolic links)" \
        if name == "data" else f"the root's /{name}: Not a directory"
    assert re.fullmatch(f"{STAGE}: {expected}\n", result.stderr), result.stderr


def test_a_volumes_place_may_be_behind_a_link_of_the_root(caller, folder):
    """As /var/run in a Debian root."""
    tree = folder / "tree"
    (tree / "bin").mkdir(parents=True)
    (tree / "var").mkdir()
    shutil.copy(shutil.which("busybox"), tree / "bin" / "sh")
    os.symlink("/run", tree / "var" / "run")
    (tree / "run").mkdir()
    give_to(caller, folder)
    script = "read line </run/app/release; echo $line"
    out = caller.output(STAGE, "--rootfs", tree, "-v", "/etc/os-release:/var/run/app/release",
                        "sh", "-c", script)
    assert out == pathlib.Path("/etc/os-release").read_text().splitlines()[0]


def test_a_fifo_as_mount_point_does_not_hang(caller, folder):
    tree = folder / "tree"
    (tree / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox"), tree / "bin" / "sh")
    os.mkfifo(tree / "data")
    give_to(caller, folder)
    out = caller.output(STAGE, "--rootfs", tree, "-v", "/etc/os-release:/data", "sh", "-c",
                        "read line </data; echo $line")
    assert out == pathlib.Path("/etc/os-release").read_text().splitlines()[0]


def test_the_hosts_root_can_be_the_root(caller):
    script = "id -u; echo $$; for p in /proc/[0-9]*; do echo $p; done"
    out = caller.output(STAGE, "--rootfs", "/", "sh", "-c", script)
    assert out.split() == ["0", "1", "/proc/1"]


@pytest.mark.as_shipped
def test_the_container_dies_with_a_parent_killed_at_any_system_call(user):
    check_that_no_kill_of_the_parent_leaves_the_container(user, STAGE, user.home)


def test_the_terminal_is_the_console(caller):
    shell = caller.terminal(STAGE, "sh", "-c", "'tty; test -t 0 && echo is a terminal'")
    shell.expect_exact("/dev/console\r\nis a terminal\r\n")
