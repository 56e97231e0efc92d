"""The built-in root file system: one tar, unpacked once per user."""

from __future__ import annotations

import hashlib
import os
import pathlib
import subprocess
import sys
import tarfile

import pytest

STAGE = "05_userns"
TAR = pathlib.Path("rootfs/rootfs.tar")


def folders(user) -> list[pathlib.Path]:
    return sorted(user.home.glob(".cache/containers-under-the-hood/*"))


def forget(user) -> None:
    subprocess.run(["rm", "-rf", user.home / ".cache"], check=True)


def test_the_tar_is_the_same_each_time(tmp_path):
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-B", "rootfs/make_rootfs.py", "/usr/bin/busybox",
                        tmp_path / f"{name}.tar", tmp_path / f"{name}.h"], check=True)
    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert (tmp_path / "one.h").read_bytes() == (tmp_path / "two.h").read_bytes()


def test_the_tar_has_what_a_root_needs():
    with tarfile.open(TAR) as tar:
        members = {member.name: member for member in tar}
        passwd = tar.extractfile("etc/passwd").read().decode()
    assert {"bin/sh", "etc/group", "etc/hosts", "etc/resolv.conf", "etc/os-release", "etc/profile",
            "dev", "proc", "sys", "usr/bin/env"} <= members.keys()
    assert members["tmp"].mode == 0o1777
    assert members["bin/busybox"].mode == 0o755  # and not set-user-ID
    assert {(m.uid, m.gid, m.mtime) for m in members.values()} == {(0, 0, 0)}
    assert "root:x:0:0:root:/root:/bin/sh\n" in passwd


def test_it_is_unpacked_once(user):
    forget(user)
    assert user.run(STAGE, "true").returncode == 0
    folder, = folders(user)
    before = folder.joinpath("bin/busybox").stat()
    assert user.run(STAGE, "true").returncode == 0
    assert folder.joinpath("bin/busybox").stat() == before
    assert folders(user) == [folder]


def test_many_may_start_at_once(user):
    forget(user)
    started = [user.start(STAGE, "sh", "-c", "ls /etc/profile") for _ in range(12)]
    for process in started:
        with process:
            assert process.communicate(timeout=30) == ("/etc/profile\n", "")
    assert len(folders(user)) == 1


def test_half_an_old_one_does_no_harm(user):
    forget(user)
    user.run(STAGE, "true")
    folder, = folders(user)
    subprocess.run(["rm", "-rf", folder], check=True)
    partial = pathlib.Path(f"{folder}.partial")
    (partial / "etc").mkdir(parents=True)  # as a killed start leaves it
    if os.geteuid() == 0:
        subprocess.run(["chown", "-R", str(user.uid), partial], check=True)
    assert user.output(STAGE, "cat", "/etc/hosts").startswith("127.0.0.1 localhost")
    assert folders(user) == [folder]


def test_another_tar_gets_another_folder(user):
    """The name has a part of the tar's SHA-256, which is built into the program."""
    forget(user)
    user.run(STAGE, "true")
    folder, = folders(user)
    digest = hashlib.sha256(TAR.read_bytes()).hexdigest()
    assert folder.name == f"rootfs-{digest[:16]}"


def test_without_the_tar_the_reason_is_told(user):
    forget(user)
    alone = user.home / "alone"
    alone.write_bytes(pathlib.Path(user.program(STAGE)).read_bytes())
    alone.chmod(0o755)
    result = subprocess.run(["setpriv", "--reuid", str(user.uid), "--clear-groups", alone, "true"]
                            if os.geteuid() == 0 else [alone, "true"],
                            env=user.environment(), capture_output=True, text=True, check=False)
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    assert message.startswith("alone: the built-in root file system is not at /")
    assert "--rootfs DIR" in hint
    assert folders(user) == []


def test_a_home_that_cannot_be_written_is_named(user):
    result = user.run(STAGE, "true", env={**user.environment(), "HOME": "/proc"})
    assert result.returncode == 125
    assert result.stderr == (f"{STAGE}: mkdir(/proc/.cache/containers-under-the-hood): "
                             "No such file or directory\n")


def test_no_space_leaves_nothing(user):
    if os.geteuid() != 0:
        pytest.skip("mounts a small file system: needs root")
    forget(user)
    small = user.home / "small"
    small.mkdir(exist_ok=True)
    script = f"""
        mount -t tmpfs -o size=64k,uid={user.uid} small {small}
        HOME={small} setpriv --reuid {user.uid} --clear-groups {user.program(STAGE)} true
        echo status $?; find {small} -mindepth 3"""
    result = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True,
                            text=True, check=False)
    assert result.stdout == "status 125\n", result.stderr
    assert "No space left on device" in result.stderr
