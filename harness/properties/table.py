"""The table: all rows, stage after stage, and what the probe can be asked for them."""

from __future__ import annotations

from typing import Dict, List

from harness.properties import (cgroups, cgroups_cpu, chroot, ebpf, exec as exec_, exec_failures,
                                exec_signals, lsm, lsm_selinux, namespaces, namespaces_hostile,
                                namespaces_init, namespaces_time, network, network_outside,
                                overlayfs, overlayfs_hostile, overlayfs_images, pivot_root,
                                pivot_root_hostile, pivot_root_terminal, pivot_root_volumes,
                                seccomp, userns, userns_hostile, userspace)
from harness.properties.look import Ask
from harness.properties.model import Property

# In the order in which the stages are built. None of these files imports a later one.
FILES = (exec_, exec_signals, exec_failures, chroot, userspace, namespaces, namespaces_init,
         namespaces_time, namespaces_hostile, userns, userns_hostile, pivot_root,
         pivot_root_volumes, pivot_root_hostile, pivot_root_terminal, cgroups, cgroups_cpu,
         overlayfs, overlayfs_images, overlayfs_hostile, seccomp, network, network_outside, lsm,
         lsm_selinux, ebpf)

PROPERTIES: List[Property] = [row for file in FILES for row in file.rows()]
BY_NAME: Dict[str, Property] = {row.name: row for row in PROPERTIES}

# In the order in which the probe does what they ask.
ASKS: Dict[str, Ask] = dict(sorted(
    (item for file in FILES for item in file.ASKS.items()), key=lambda item: item[1].turn))

# Scenes that run only when nothing else runs.
ALONE = cgroups_cpu.ALONE | lsm.ALONE
