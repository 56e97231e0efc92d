"""The built-in root file system: one tar, unpacked once per user."""

from __future__ import annotations

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import time

import pytest

STAGE = "05_userns"
TAR = pathlib.Path("rootfs/rootfs.tar")


def folders(user) -> list[pathlib.Path]:
    return sorted(user.cache.glob("*"))


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
    message, hint = result.stderr.splitlines()
    assert message == (f"{STAGE}: there is no directory for the container's root file system: "
                       "mkdir(/proc/.cache/containers-under-the-hood): No such file or directory")
    assert "XDG_CACHE_HOME" in hint and "--rootfs" in hint


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_it_is_private_and_the_same_whatever_the_umask(user, mask):
    forget(user)
    assert user.run(STAGE, "true", umask=mask).returncode == 0
    folder, = folders(user)
    assert folder.parent.stat().st_mode & 0o7777 == 0o700
    with tarfile.open(TAR) as tar:
        expected = {member.name: member.mode for member in tar if not member.issym()}
    found = {name: folder.joinpath(name).stat().st_mode & 0o7777 for name in expected}
    assert found == expected
    assert folder.stat().st_mode & 0o7777 == 0o755


def test_a_cache_that_others_can_read_is_made_private(user):
    """A set-user-ID program that a container made would be one on the host, CVE-2021-41091."""
    forget(user)
    assert user.run(STAGE, "true").returncode == 0
    cache = folders(user)[0].parent
    cache.chmod(0o755)
    assert user.run(STAGE, "true").returncode == 0
    assert cache.stat().st_mode & 0o7777 == 0o700


def test_no_program_unpacks_it(user):
    """tar(1) is not used: PATH could lead to another one, and it would go on after we were
    killed."""
    forget(user)
    fake = user.home / "bin"
    fake.mkdir(exist_ok=True)
    (fake / "tar").write_text(f"#!/bin/sh\ntouch {fake}/was-run\n")
    (fake / "tar").chmod(0o755)
    result = user.run(STAGE, "true", env={**user.environment(), "PATH": str(fake)})
    assert result.returncode == 0, result.stderr
    assert not (fake / "was-run").exists()


def test_a_start_after_one_that_was_killed_works(user):
    for milliseconds in range(0, 10):
        forget(user)
        with user.start(STAGE, "true") as process:
            time.sleep(milliseconds / 1000)
            process.kill()
        assert user.output(STAGE, "cat", "/etc/hosts").startswith("127.0.0.1")


def test_root_uses_no_cache_of_another_user(root, tmp_path):
    """Under sudo, XDG_CACHE_HOME may still be the user's, who could replace its content, or a
    directory above it."""
    for below in (".", "not/made/yet"):
        for owner, made in ((12345, False), (0, True)):
            os.chown(tmp_path, owner, owner)
            cache = tmp_path / below
            environment = {**root.environment(), "XDG_CACHE_HOME": str(cache)}
            assert root.run(STAGE, "true", env=environment).returncode == 0
            assert (cache / "containers-under-the-hood").exists() == made
            assert made or not list(tmp_path.iterdir())
        shutil.rmtree(cache)
        tmp_path.mkdir(exist_ok=True)


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
