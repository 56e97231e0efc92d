"""Where / is the initramfs, which pivot_root(2) cannot leave, the stages from 06 on do not start,
and say why."""

import os
import pathlib
import shutil
import subprocess

import pytest

from harness.vm.image import NATIVE, image_for
from harness.vm.vm import EMULATION, HARDWARE, confinement

STAGES = sorted(path for path in pathlib.Path("stages").glob("*/*")
                if path.name == path.parent.name)
BUSYBOX = pathlib.Path("/bin/busybox")
INIT = """#!/bin/busybox sh
export PATH=/bin HOME=/root
busybox mount -t proc proc /proc
busybox mount -t sysfs sysfs /sys
busybox mount -t devtmpfs devtmpfs /dev
for program in /stages/*; do
  $program --rootfs /root /bin/busybox echo started
  echo "${program##*/}: status $?"
done
busybox poweroff -f
"""


@pytest.fixture(name="said", scope="module")
def _said(tmp_path_factory):
    """What the stages write there."""
    root = tmp_path_factory.mktemp("initramfs")
    for folder in ("bin", "dev", "proc", "root/bin", "root/dev", "root/proc", "root/sys", "stages",
                   "sys"):
        (root / folder).mkdir(parents=True)
    shutil.copy(BUSYBOX, root / "bin")
    shutil.copy(BUSYBOX, root / "root/bin")
    for stage in STAGES:
        shutil.copy(stage, root / "stages")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = subprocess.run(["find", "."], cwd=root, check=True, stdout=subprocess.PIPE).stdout
    with open(root.with_suffix(".cpio"), "wb") as archive:
        subprocess.run([BUSYBOX, "cpio", "-o", "-H", "newc"], cwd=root, input=names, check=True,
                       stdout=archive, stderr=subprocess.DEVNULL)
    hardware = HARDWARE[NATIVE]
    kernel, initramfs = (os.open(path, os.O_RDONLY)
                         for path in (image_for().kernel, archive.name))
    return subprocess.run(
        [*confinement(), *hardware.qemu, "-nodefaults", "-no-user-config", "-display", "none",
         "-no-reboot", "-m", "512", *EMULATION.words, "-cpu", hardware.emulated_cpu, "-serial",
         "stdio", "-kernel", f"/proc/self/fd/{kernel}", "-initrd", f"/proc/self/fd/{initramfs}",
         "-append", f"console={hardware.console} quiet panic=-1 mitigations=off"],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=120, check=False, text=True,
        pass_fds=(kernel, initramfs)).stdout


@pytest.mark.parametrize("stage", [stage.name for stage in STAGES if stage.name >= "06"])
def test_it_says_that_pivot_root_cannot_leave_the_initramfs(said, stage):
    assert f"""{stage}: / is the initramfs, which pivot_root(2) cannot leave
hint: switch_root(8) to another file system first
{stage}: status 125
""" in said


def test_a_stage_without_pivot_root_starts_there(said):
    assert "started\n04_namespaces: status 0\n" in said
