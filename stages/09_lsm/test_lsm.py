"""Stage 09: --security-opt; here, on a machine that may have no security module."""

from __future__ import annotations

import pathlib

import pytest

STAGE = "09_lsm"
ENABLED = pathlib.Path("/sys/module/apparmor/parameters/enabled")
SELINUX = pathlib.Path("/sys/fs/selinux/enforce")
VALUES = ("there are apparmor=PROFILE, apparmor=unconfined, label=type:TYPE, label=level:LEVEL,"
          " label=user:USER, label=role:ROLE and label=disable")


def has_module() -> bool:
    return SELINUX.exists() or (ENABLED.exists() and ENABLED.read_text(encoding="ascii") == "Y\n")


without_module = pytest.mark.skipif(has_module(), reason="this kernel uses AppArmor or SELinux: the"
                                    " rows of stage 09 test it")


@pytest.mark.parametrize("value, message, hint", [
    ("apparmor", "is not the name of a profile", VALUES),
    ("apparmor=", "is not the name of a profile", VALUES),
    ("apparmor=a\nb", "is not the name of a profile", VALUES),
    ("apparmor=" + 256 * "a", "is not the name of a profile", VALUES),
    ("", "is not an option here", VALUES),
    ("label", "is not a part of a label", VALUES),
    ("label=", "is not a part of a label", VALUES),
    ("label=type", "is not a part of a label", VALUES),
    ("label=type:", "is not a part of a label", VALUES),
    ("label=type:a:s0", "is not a part of a label", VALUES),
    ("label=category:c1", "is not a part of a label", VALUES),
    ("label=level:s0\nc1", "is not a part of a label", VALUES),
    ("nonsense=1", "is not an option here", VALUES),
    ("seccomp=unconfined", "is not an option here", "it is called --seccomp PROFILE"),
    ("no-new-privileges", "is not an option here",
     "it is the default; --no-new-privs=false switches it off"),
])
def test_a_wrong_value_is_refused(caller, value, message, hint):
    result = caller.run(STAGE, "--security-opt", value, "true")
    shown = value.replace("\n", "?")
    assert result.stderr == (f"09_lsm: --security-opt {shown}: {message}\nhint: {hint}\n")
    assert result.returncode == 125


NO_WALL = ("the container is not confined by a security module: this kernel uses neither AppArmor"
           " nor SELinux")


@without_module
def test_without_a_module_it_starts_and_says_so_to_a_user_at_a_terminal(caller):
    terminal = caller.terminal(STAGE, "echo", "$((40 + 2))nd")
    terminal.expect_exact(f"{STAGE}: {NO_WALL}\r\n42nd\r\n")
    terminal.close()


@without_module
def test_without_a_module_it_says_so_to_other_programs_only_when_it_is_verbose(caller):
    result = caller.run(STAGE, "true")
    assert (result.returncode, result.stderr) == (0, "")
    result = caller.run(STAGE, "--verbose", "true")
    assert (result.returncode, result.stderr.count(NO_WALL)) == (0, 1)


@pytest.mark.parametrize("value", ["apparmor=unconfined", "label=disable"])
def test_a_user_who_has_chosen_that_is_not_told(caller, value):
    terminal = caller.terminal(STAGE, "--security-opt", value, "echo", "$((40 + 2))nd")
    terminal.expect_exact("42nd\r\n")
    assert "not confined" not in terminal.before
    terminal.close()


@without_module
@pytest.mark.parametrize("value", ["apparmor=unconfined", "label=disable"])
def test_without_a_module_unconfined_is_no_error(caller, value):
    result = caller.run(STAGE, "--security-opt", value, "true")
    assert (result.returncode, result.stderr) == (0, "")


@without_module
def test_without_a_module_a_profile_is_refused(caller):
    result = caller.run(STAGE, "--security-opt", "apparmor=containers-under-the-hood", "true")
    assert result.returncode == 125
    assert result.stderr == ("09_lsm: --security-opt apparmor=containers-under-the-hood: this"
                             " kernel does not use AppArmor\nhint: boot it with apparmor=1"
                             " security=apparmor, or leave the option out\n")


@without_module
@pytest.mark.parametrize("value", ["type:hood_container_t", "level:s0:c1,c2", "user:system_u",
                                   "role:system_r"])
def test_without_selinux_a_label_is_refused(caller, value):
    result = caller.run(STAGE, "--security-opt", f"label={value}", "true")
    assert result.returncode == 125
    assert result.stderr == ("09_lsm: --security-opt label=…: this kernel does not use SELinux\n"
                             "hint: boot it with security=selinux selinux=1, or leave the option"
                             " out\n")
