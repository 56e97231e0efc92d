"""Where cases are tested: `--in host`, `--in vm`, `--in vm:6.12`; by default, where they can be."""

from __future__ import annotations

import contextlib
import threading
from typing import Iterator, List, Sequence

from harness.agent_client import HOST, Container, Place
from harness.vm.image import DEFAULT_KERNEL, NATIVE, SUITES
from harness.vm.vm import Vm, architecture_of

ANYWHERE = "anywhere"
CONTAINER = "container"
CHOICES = (ANYWHERE, "host", CONTAINER, "vm", *[f"vm:{kernel}" for kernel in SUITES])
HELP = ("host, vm, vm:KERNEL, or container: this machine, if it is one that is thrown away;"
        " default: on this machine what it can test, and in a virtual one the rest")

running: List[Vm] = []
stopped = threading.Event()  # after it, outcomes do not count


@contextlib.contextmanager
def places(choice: str, programs: Sequence[str],
           strangers: Sequence[str] = (), selinux: bool = True) -> Iterator[List[Place]]:
    """The chosen places, to be tried in this order. A VM starts when it is needed, and contains
    these programs: our own, and untrusted ones. With `selinux` there is a second one, which has
    SELinux in place of AppArmor, because a kernel uses one of them. Programs of another
    architecture can be tested in the VM only, which then has AppArmor."""
    if choice in ("host", CONTAINER):
        yield [HOST if choice == "host" else Container()]
        return
    kernel = choice.partition(":")[2] or DEFAULT_KERNEL
    foreign = architecture_of(programs) != NATIVE
    vms = [Vm(kernel, programs, strangers=strangers, selinux=uses_it)
           for uses_it in ((False, True) if selinux and not foreign else (False,))]
    running.extend(vms)
    for vm in vms:
        vm.stopped = stopped.is_set()
    try:
        yield [HOST, *vms] if choice == ANYWHERE and not foreign else [*vms]
    finally:
        for vm in vms:
            vm.close()
            running.remove(vm)


def stop_all() -> None:
    """Ends all machines and builds for good: a thread that uses one gets a Lost exception."""
    stopped.set()
    for vm in list(running):
        vm.stop()
