"""Stage 09 in a machine whose kernel uses AppArmor: the profile, and what the user is told."""

from __future__ import annotations

import pathlib
import subprocess
import tempfile
from collections.abc import Iterator

import pytest
from conftest import give_to, remove

STAGE = "09_lsm"
PROFILE = pathlib.Path("/box/containers.apparmor")
OPEN = ("--cap-add", "SYS_ADMIN", "--seccomp", "unconfined")
MOUNT = ("mount", "-t", "tmpfs", "none", "/mnt")
LABEL = ("cat", "/proc/self/attr/current")
NO_WALL = ("the container is not confined by a security module: --security-opt"
           " apparmor=containers-under-the-hood: no profile of this name is loaded")
LOAD = pathlib.Path("stages/09_lsm/load").absolute()


def parse(operation: str) -> None:
    subprocess.run(["apparmor_parser", operation, "--skip-cache", PROFILE], check=True)


@pytest.fixture(name="loaded")
def loaded_profile() -> Iterator[None]:
    parse("--replace")
    yield
    parse("--remove")


@pytest.fixture(name="how")
def cache_on_disk(caller) -> Iterator[dict]:
    """/tmp there is a tmpfs, which has no extended attributes of an ordinary user."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="cache-", dir="/var/tmp"))
    give_to(caller, path)
    yield {"env": {**caller.environment(), "XDG_CACHE_HOME": str(path)}}
    remove(path)


def load(*words: str, **how) -> subprocess.CompletedProcess:
    return subprocess.run([LOAD, *words], text=True, capture_output=True, check=False, **how)


def logged() -> list[str]:
    """The lines of the kernel's log that AppArmor wrote."""
    log = subprocess.run(["dmesg"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return [line for line in log.splitlines() if "apparmor=" in line]


def test_the_default_profile_is_used_if_it_is_loaded(caller, how, loaded):
    assert caller.output(STAGE, *LABEL, **how) == "containers-under-the-hood (enforce)"


def test_also_for_the_command_of_an_init_and_another_user(root, loaded):
    ids = ("--uid-map", "0:100000:10", "--gid-map", "0:100000:10", "-u", "5:5")
    assert root.output(STAGE, "--init", *ids, *LABEL) == "containers-under-the-hood (enforce)"


def test_without_the_default_profile_it_starts_and_leaves_no_line_in_the_log(caller, how):
    before = logged()
    assert caller.run(STAGE, "true", **how).stderr == ""
    result = caller.run(STAGE, "--verbose", *LABEL, **how)
    assert result.stdout == "unconfined\n"
    assert NO_WALL in result.stderr
    assert logged() == before


def test_without_the_default_profile_a_user_at_a_terminal_is_told(root):
    terminal = root.terminal(STAGE, "echo", "$((40 + 2))nd")
    terminal.expect_exact(f"{STAGE}: {NO_WALL}\r\nhint: bazel run --config=root"
                          " //stages/09_lsm:load\r\n42nd\r\n")
    terminal.close()


def test_with_it_a_terminal_shows_the_command_only(root, loaded):
    terminal = root.terminal(STAGE, "echo", "$((40 + 2))nd")
    terminal.expect_exact("42nd\r\n")
    assert "not confined" not in terminal.before
    terminal.close()


def test_a_profile_that_is_not_loaded_is_refused(caller, how):
    result = caller.run(STAGE, "--security-opt", "apparmor=containers-under-the-hood", "true",
                        **how)
    assert result.returncode == 125
    assert result.stderr == ("09_lsm: --security-opt apparmor=containers-under-the-hood: no profile"
                             " of this name is loaded\nhint: bazel run --config=root"
                             " //stages/09_lsm:load\n")


def test_load_loads_the_profile_and_removes_it(root):
    assert root.output(STAGE, *LABEL) == "unconfined"
    for _ in range(2):  # the second time, it is there already
        assert load().stderr == ""
        assert root.output(STAGE, *LABEL) == "containers-under-the-hood (enforce)"
    assert load("--remove").stderr == ""
    assert root.output(STAGE, *LABEL) == "unconfined"


@pytest.mark.parametrize("words, how, told", [
    ((), {"user": 1000}, "load: only root may load it\nhint: bazel run --config=root"
     " //stages/09_lsm:load\n"),
    (("--unload",), {}, "load: unknown option --unload\nhint: there is --remove\n"),
])
def test_load_says_in_one_line_why_it_does_not(words, how, told):
    result = load(*words, **how)
    assert (result.returncode, result.stdout, result.stderr) == (1, "", told)


def test_what_was_denied_is_shown_with_verbose(root, loaded):
    result = root.run(STAGE, "--verbose", *OPEN, *MOUNT)
    assert result.returncode != 0
    (first, *_) = [line for line in result.stderr.splitlines() if "denied: " in line]
    assert 'operation="mount"' in first and 'comm="mount"' in first and 'name="/mnt/"' in first


def test_what_was_denied_to_another_profile_is_not(root, loaded):
    words = ["aa-exec", "-p", "containers-under-the-hood", "--", *MOUNT]
    other = subprocess.run(words, check=False)
    assert other.returncode != 0
    assert "denied: " not in root.run(STAGE, "--verbose", "true").stderr


@pytest.mark.parametrize("caller", ["user"], indirect=True)
def test_a_user_who_may_not_read_the_log_is_told(caller, how, loaded):
    result = caller.run(STAGE, "--verbose", *OPEN, *MOUNT, **how)
    assert result.returncode != 0
    assert "only root may read the kernel's log" in result.stderr
