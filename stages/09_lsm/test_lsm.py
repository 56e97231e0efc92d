"""Stage 09: --security-opt; here, on a machine that may have no security module."""

from __future__ import annotations

import pathlib

import pytest

STAGE = "09_lsm"
ENABLED = pathlib.Path("/sys/module/apparmor/parameters/enabled")


def has_apparmor() -> bool:
    return ENABLED.exists() and ENABLED.read_text(encoding="ascii") == "Y\n"


without_apparmor = pytest.mark.skipif(has_apparmor(), reason="this kernel uses AppArmor: the rows"
                                      " of stage 09 test it")


@pytest.mark.parametrize("value, message, hint", [
    ("apparmor", "is not the name of a profile",
     "there are apparmor=PROFILE and apparmor=unconfined"),
    ("apparmor=", "is not the name of a profile",
     "there are apparmor=PROFILE and apparmor=unconfined"),
    ("apparmor=a\nb", "is not the name of a profile",
     "there are apparmor=PROFILE and apparmor=unconfined"),
    ("apparmor=" + 256 * "a", "is not the name of a profile",
     "there are apparmor=PROFILE and apparmor=unconfined"),
    ("", "is not an option here", "there are apparmor=PROFILE and apparmor=unconfined"),
    ("nonsense=1", "is not an option here", "there are apparmor=PROFILE and apparmor=unconfined"),
    ("seccomp=unconfined", "is not an option here", "it is called --seccomp PROFILE"),
    ("no-new-privileges", "is not an option here",
     "it is the default; --no-new-privs=false switches it off"),
])
def test_a_wrong_value_is_refused(caller, value, message, hint):
    result = caller.run(STAGE, "--security-opt", value, "true")
    shown = value.replace("\n", "?")
    assert result.stderr == (f"09_lsm: --security-opt {shown}: {message}\nhint: {hint}\n")
    assert result.returncode == 125


@without_apparmor
def test_without_a_module_it_starts_and_says_so_only_when_it_is_verbose(caller):
    assert caller.run(STAGE, "true").stderr == ""
    result = caller.run(STAGE, "--verbose", "true")
    assert result.returncode == 0
    assert "no AppArmor in this kernel" in result.stderr


@without_apparmor
def test_without_a_module_unconfined_is_no_error(caller):
    result = caller.run(STAGE, "--security-opt", "apparmor=unconfined", "true")
    assert (result.returncode, result.stderr) == (0, "")


@without_apparmor
def test_without_a_module_a_profile_is_refused(caller):
    result = caller.run(STAGE, "--security-opt", "apparmor=containers-under-the-hood", "true")
    assert result.returncode == 125
    assert result.stderr == ("09_lsm: --security-opt apparmor=containers-under-the-hood: this"
                             " kernel does not use AppArmor\nhint: boot it with apparmor=1"
                             " security=apparmor, or leave the option out\n")
