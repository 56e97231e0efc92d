"""Stage 09 in a machine whose kernel uses SELinux: the label, and what the user is told."""

from __future__ import annotations

import pathlib
import re
import subprocess
import tempfile
from collections.abc import Iterator

import pytest
from conftest import give_to, remove, wait_until

STAGE = "09_lsm"
LABEL = ("cat", "/proc/self/attr/current")
OURS = re.compile(r"system_u:system_r:hood_container_t:s0:c\d+,c\d+")
POLICIES = pathlib.Path("/etc/selinux/default/policy")
WITHOUT_OURS = pathlib.Path("/etc/selinux/without_containers")
SEUSERS = pathlib.Path("/etc/selinux/default/seusers")
LOAD = pathlib.Path("stages/09_lsm/load").absolute()
LEVEL = ("--security-opt", "label=level:s0:c1,c2")


@pytest.fixture
def unloaded() -> Iterator[None]:
    """The policy without our module: semodule(8) takes minutes in this machine. load_policy(8)
    makes it one of a version that the kernel knows."""
    (policy,) = POLICIES.glob("policy.*")
    ours = policy.read_bytes()
    for content in (WITHOUT_OURS.read_bytes(), ours):
        policy.write_bytes(content)
        subprocess.run(["load_policy"], check=True)
        if content is not ours:
            yield


@pytest.fixture(name="how")
def cache_on_disk(caller) -> Iterator[dict]:
    """/tmp there is a tmpfs, which has no extended attributes of an ordinary user."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="cache-", dir="/var/tmp"))
    give_to(caller, path)
    yield {"env": {**caller.environment(), "XDG_CACHE_HOME": str(path)}}
    remove(path)


@pytest.fixture(name="volume")
def volume_with_label() -> Iterator[pathlib.Path]:
    """A folder with a file, which both have a label of containers, and a level."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="volume-", dir="/var/tmp"))
    path.chmod(0o755)
    (path / "file").write_text("text")
    (path / "file").chmod(0o666)
    subprocess.run(["chcon", "-R", "-t", "hood_container_file_t", "-l", "s0:c1,c2", path],
                   check=True)
    yield path
    remove(path)


def test_by_default_the_command_has_our_type_and_two_categories(caller, how):
    assert OURS.fullmatch(caller.output(STAGE, *LABEL, **how).strip("\0"))


def test_also_for_the_command_of_an_init_and_another_user(root):
    ids = ("--uid-map", "0:100000:10", "--gid-map", "0:100000:10", "-u", "5:5")
    assert OURS.fullmatch(root.output(STAGE, "--init", *ids, *LABEL).strip("\0"))


@pytest.mark.parametrize("command", [
    "echo text >/file && cat /file && rm /file && mkdir /d && ln -s d /e && rm -r /d /e",
    "cp /bin/busybox /tmp/true && /tmp/true",
    "echo text >/mounted/file && cat /mounted/file",
    "echo text >/dev/shm/file && echo >/dev/null && head -c 1 /dev/urandom >/dev/zero",
    "mkfifo /fifo && { echo text >/fifo & cat /fifo; }",
    "ls /proc/self /proc/sys /sys /sys/fs/cgroup /dev/pts /dev/mqueue",
    "cat /proc/meminfo /proc/self/status /proc/sys/kernel/ostype && df",
    "{ nc -l -p 80 & } && sleep 0.3 && echo text | nc 127.0.0.1 80",
    "kill -0 1 && ps && chown 0:0 /tmp && ping -c 1 127.0.0.1",
])
def test_a_container_can_use_what_is_its_own(caller, how, command):
    result = caller.run(STAGE, "--tmpfs", "/mounted", "sh", "-ec", command, **how)
    assert (result.returncode, result.stderr) == (0, "")


def test_a_terminal_is_its_own(root):
    terminal = root.terminal(STAGE, "sh", "-c", "tty && echo te''xt")
    terminal.expect("/dev/[a-z0-9/]+\r\ntext\r\n", timeout=60)


def test_a_file_of_the_host_to_which_the_caller_writes_works(root):
    with tempfile.TemporaryFile(dir="/var/tmp") as file:
        subprocess.run([root.program(STAGE), "echo", "text"], stdout=file, check=True)
        file.seek(0)
        assert file.read() == b"text\n"


def test_a_volume_of_its_level_can_be_used(root, volume):
    words = ("sh", "-c", "cat /v/file && echo more >/v/file")
    assert root.output(STAGE, *LEVEL, "-v", f"{volume}:/v", *words) == "text"
    assert (volume / "file").read_text() == "more\n"


def test_a_level_is_held_until_its_container_ends(root):
    name = "@containers-under-the-hood/level/s0:c1,c2"
    sockets = pathlib.Path("/proc/net/unix")
    with root.start(STAGE, *LEVEL, "sleep", "1000") as run:
        assert wait_until(lambda: name in sockets.read_text(), 60)
        run.kill()
        assert wait_until(lambda: name not in sockets.read_text(), 60)


NO_WALL = ("the container is not confined by a security module: SELinux: the loaded policy has no"
           " label system_u:system_r:hood_container_t:")


def test_without_our_module_it_starts_and_scripts_see_it_with_verbose(caller, how, unloaded):
    assert caller.run(STAGE, "true", **how).stderr == ""
    result = caller.run(STAGE, "--verbose", *LABEL, **how)
    assert result.stdout.strip("\0") == "system_u:system_r:kernel_t:s0"
    assert NO_WALL in result.stderr


def test_without_our_module_a_user_at_a_terminal_is_told(root, unloaded):
    terminal = root.terminal(STAGE, "echo", "$((40 + 2))nd")
    terminal.expect_exact(f"{STAGE}: {NO_WALL}")
    terminal.expect_exact("hint: bazel run --config=root //stages/09_lsm:load\r\n42nd\r\n")
    terminal.close()


def test_load_removes_the_module_and_loads_it(root):
    """With semodule(8), which takes minutes, and also writes the file by which sshd labels callers,
    which furnish has changed."""
    callers = SEUSERS.read_text()
    for words, label in ((["--remove"], re.compile("system_u:system_r:kernel_t:s0")), ([], OURS)):
        try:
            subprocess.run([LOAD, *words], check=True)
        finally:
            SEUSERS.write_text(callers)
        assert label.fullmatch(root.output(STAGE, *LABEL).strip("\0"))


def test_without_our_module_our_type_is_refused(root, unloaded):
    result = root.run(STAGE, "--security-opt", "label=type:hood_container_t", *LEVEL, "true")
    assert result.returncode == 125
    assert result.stderr == ("09_lsm: SELinux: the loaded policy has no label system_u:system_r:"
                             "hood_container_t:s0:c1,c2\nhint: bazel run --config=root"
                             " //stages/09_lsm:load\n")


@pytest.mark.parametrize("label, message", [
    ("type:missing_t", "the loaded policy has no label system_u:system_r:missing_t:s0:c1,c2\n"
     "hint: seinfo --type lists its types"),
    ("level:s0:c1024", "the loaded policy has no label system_u:system_r:hood_container_t:s0:c1024"
     "\nhint: a level is s0, or s0:c1,c2 with categories from c0 to c1023"),
    ("type:init_t", "the loaded policy does not let system_u:system_r:kernel_t:s0 become"
     " system_u:system_r:init_t:s0:c1,c2\nhint: it needs: allow … process { transition }; allow …"
     " process2 { nnp_transition }"),
])
def test_what_the_policy_does_not_have_is_refused(root, label, message):
    result = root.run(STAGE, *LEVEL, "--security-opt", f"label={label}", "true")
    assert (result.returncode, result.stderr) == (125, f"09_lsm: SELinux: {message}\n")


def test_apparmor_is_refused(root):
    result = root.run(STAGE, "--security-opt", "apparmor=containers-under-the-hood", "true")
    assert result.returncode == 125
    assert "this kernel does not use AppArmor" in result.stderr


def test_what_was_denied_is_shown_with_verbose(root):
    result = root.run(STAGE, *LEVEL, "--verbose", "arping", "-c", "1", "-I", "lo", "127.0.0.1")
    assert result.returncode != 0
    (line,) = [line for line in result.stderr.splitlines() if "denied: " in line]
    assert "avc:  denied  { create }" in line and 'comm="arping"' in line
    assert "scontext=system_u:system_r:hood_container_t:s0:c1,c2 " in line
    assert "tclass=packet_socket" in line
