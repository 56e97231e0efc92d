"""Stage 02: another root directory."""

from __future__ import annotations

import os

STAGE = "02_chroot"


def test_the_root_is_another(root, tmp_path):
    (tmp_path / "secret").write_text("host")
    assert root.output(STAGE, "sh", "-c", f"cat {tmp_path}/secret || echo hidden") == "hidden"
    assert root.output(STAGE, "cat", "/etc/os-release").startswith(
        'NAME="Containers under the hood"')


def test_the_working_directory_is_inside(root, tmp_path):
    assert root.output(STAGE, "pwd", cwd=tmp_path) == "/"
    assert "etc" in root.output(STAGE, "ls", "..", cwd=tmp_path).split()


def test_the_environment_is_the_containers(root):
    environment = {**root.environment(), "SECRET": "x", "LD_LIBRARY_PATH": "/host",
                   "PATH": "/opt/host:" + os.environ["PATH"]}
    lines = root.output(STAGE, "env", env=environment).splitlines()
    seen = dict(line.split("=", 1) for line in lines)
    seen.pop("SHLVL", None)
    assert seen == {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": "/root", "TERM": "xterm", "container": STAGE, "ENV": "/etc/profile",
    }


def test_the_calls_are_shown(root, tmp_path):
    (tmp_path / "bin").mkdir()
    result = root.run(STAGE, "--verbose", "--rootfs", tmp_path, "true")
    # The parent writes its lines at the same time.
    child = [line for line in result.stderr.splitlines() if "child" in line]
    assert child[:2] == [f"{STAGE}: child   chdir({tmp_path}) = 0",
                         f"{STAGE}: child   chroot(.) = 0"]


def test_a_program_without_its_loader_says_which_is_missing(root, tmp_path):
    """The talk's "no such file or directory" for a file that is there."""
    (tmp_path / "bin").mkdir()
    for name, content in {"bash": open("/bin/bash", "rb").read(),
                          "script": b"#!/usr/bin/no-such\n"}.items():
        (tmp_path / "bin" / name).write_bytes(content)
        (tmp_path / "bin" / name).chmod(0o755)
    result = root.run(STAGE, "--rootfs", tmp_path, "bash")
    assert result.returncode == 127
    assert result.stderr.startswith(f"{STAGE}: /bin/bash exists, but its interpreter does not:"
                                    " /lib")
    result = root.run(STAGE, "--rootfs", tmp_path, "/bin/script")
    assert result.returncode == 127
    assert "/bin/script exists, but its interpreter does not: /usr/bin/no-such\n" in result.stderr


def test_a_wrong_rootfs_is_refused(root, tmp_path):
    (tmp_path / "file").write_text("")
    for path, reason in {tmp_path / "absent": "No such file or directory",
                         tmp_path / "file": "Not a directory"}.items():
        result = root.run(STAGE, "--rootfs", path, "sh")
        assert result.returncode == 125
        assert result.stderr == f"{STAGE}: --rootfs {path}: {reason}\n"


def test_a_relative_rootfs_is_relative_to_the_caller(root, tmp_path):
    (tmp_path / "tree").mkdir()
    result = root.run(STAGE, "--rootfs", "tree", "sh", cwd=tmp_path)
    assert result.returncode == 127  # found, and empty
    environment = {**root.environment(), "BUILD_WORKING_DIRECTORY": str(tmp_path)}
    result = root.run(STAGE, "--rootfs", "tree", "sh", env=environment)  # as `bazel run` does
    assert result.returncode == 127


def test_an_ordinary_user_is_told_what_to_do(user):
    result = user.run(STAGE, "sh")
    assert result.returncode == 125
    message, hint = result.stderr.splitlines()
    assert message == f"{STAGE}: this stage needs root: chroot(2) requires CAP_SYS_CHROOT"
    assert "--config=root" in hint and "stages 05" in hint
    assert list(user.home.iterdir()) == []  # nothing was unpacked
