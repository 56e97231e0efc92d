"""The tasks of all stages, in their order."""

from __future__ import annotations

from typing import Dict

from harness.learning.task import Task
from harness.learning.tasks import (cgroups, chroot, ebpf, exec as exec_, lsm, namespaces, network,
                                    overlayfs, pivot_root, seccomp, userns, userspace)

FILES = (exec_, chroot, userspace, namespaces, userns, pivot_root, cgroups, overlayfs, seccomp,
         network, lsm, ebpf)
TASKS: Dict[str, Task] = {file.TASK.stage: file.TASK for file in FILES}
