"""Stage 11 in a machine whose kernel uses SELinux, with the labels that an engine would choose."""

from __future__ import annotations

import os
import subprocess

import pytest
from conftest import wait_until
from oci_runtime import make_runtime

__all__ = ["make_runtime"]  # a fixture

PROCESS = "system_u:system_r:hood_container_t:s0:c1,c2"
FILES = "system_u:object_r:hood_container_file_t:s0:c1,c2"
LABEL = ("cat", "/proc/self/attr/current")


@pytest.fixture(name="labelled")
def labelled_runtime(runtime):
    """As an engine does, the test gives the files of the root their label."""
    runtime.config["process"]["selinuxLabel"] = PROCESS
    runtime.config["linux"]["mountLabel"] = FILES
    subprocess.run(["chcon", "-R", FILES, runtime.bundle / "rootfs"], check=True)
    return runtime


def test_the_command_and_what_is_mounted_for_it_have_their_labels(labelled):
    pid = labelled.create()
    labelled.do("start", "c")
    assert wait_until(lambda: open(f"/proc/{pid}/attr/current").read().strip("\0\n") == PROCESS)
    for path in ("dev", "dev/shm", "dev/pts"):
        label = os.getxattr(f"/proc/{pid}/root/{path}", "security.selinux")
        assert label.decode().strip("\0") == FILES, path
    assert labelled.do("exec", "c", *LABEL).strip("\0\n") == PROCESS


def test_without_a_label_there_is_none(runtime):
    own = open("/proc/self/attr/current").read()
    assert runtime.run(*LABEL).stdout == own


def test_the_label_confines(labelled):
    """The file may be read by all users, but has not a container's label."""
    secret = labelled.bundle / "rootfs/secret"
    secret.write_text("secret\n")
    subprocess.run(["chcon", "-t", "shadow_t", secret], check=True)
    result = labelled.run("cat", "/secret")
    assert (result.stdout, result.returncode) == ("", 1)
    assert "Permission denied" in result.stderr
    del labelled.config["process"]["selinuxLabel"]
    assert labelled.run("cat", "/secret").stdout == "secret\n"


@pytest.mark.parametrize("where, name, label", [
    ("process", "selinuxLabel", "system_u:system_r:no_such_t:s0"),
    ("linux", "mountLabel", "system_u:object_r:no_such_t:s0")])
def test_a_label_that_the_policy_does_not_have(labelled, where, name, label):
    labelled.config[where][name] = label
    labelled.write_config()
    stderr = labelled.refused("create", "--bundle", labelled.bundle, "c")
    assert f"SELinux: the loaded policy has no label {label}" in stderr
    assert labelled.leftovers() == []
