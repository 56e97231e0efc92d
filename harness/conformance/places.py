"""Where runtimes are compared: in a world of its own on this machine, or in the virtual machine,
whose cgroup v2 has all controllers, and where root has all capabilities."""

from __future__ import annotations

import argparse
import contextlib
import functools
import importlib
import os
import pathlib
import shutil
import subprocess
import sys
from typing import Any, Dict, Iterator, List, Sequence

from harness.vm.image import DEFAULT_KERNEL, SUITES, VmError
from harness.vm.vm import Vm

OURS = "11_oci"
CAP_SYS_RESOURCE = 24
THERE = "/tmp/conformance"  # in the virtual machine


def runtimes() -> Dict[str, List[str]]:
    """Ours, and those of the others that are installed: names, and the words that call them."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    found = {OURS: [os.path.abspath(f"stages/11_oci/{OURS}")]}
    for other in ("crun", "runc"):
        program = shutil.which(other, path=path)
        if program:
            found[other] = [program]
    # crun raises a limit when it makes a cgroup, and does not start where root may not do that.
    if "crun" in found and not has_all_capabilities():
        found["crun"].append("--cgroup-manager=disabled")
    return found


def has_all_capabilities() -> bool:
    """Whether this is the root of an ordinary machine, and not of a container."""
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    bits = int(status.split("CapEff:")[1].split()[0], 16)
    return bits >> CAP_SYS_RESOURCE & 1 == 1


def parser_of(module: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"bazel run //harness/conformance:{module} --",
                                     description=description,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vm", action="store_true",
                        help="in the virtual machine with engines, in place of this one")
    parser.add_argument("--kernel", choices=list(SUITES), default=DEFAULT_KERNEL,
                        help="the virtual machine's; default: %(default)s")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return parser


def run_in_vm(kernel: str, module: str, words: Sequence[str], folder: str = "") -> int:
    """The same module there, with the files that Bazel has put here, and with `folder`, to which
    FOLDER among its words refers."""
    with Vm(kernel, engines=True) as vm:
        send(vm, ["--exclude=./external", "."])
        if folder:
            send(vm, ["-C", folder, "--transform", "s,^\\.,folder,", "."])
        words = [word.replace("FOLDER", f"{THERE}/folder") for word in words]
        return vm.run("sh", "-c", f'cd {THERE} && exec "$@"', "sh", "python3", "-B", "-m",
                      f"harness.conformance.{module}", *words).returncode


def send(vm: Vm, what: List[str]) -> None:
    with subprocess.Popen(["tar", "-ch", *what], stdout=subprocess.PIPE) as tar:
        vm.run("sh", "-c", f"mkdir -p {THERE} && tar -xC {THERE}",
               stdin=tar.stdout).check_returncode()
    if tar.returncode != 0:
        raise VmError(f"the files cannot be sent: tar ended with status {tar.returncode}")


@functools.lru_cache(maxsize=None)
def engine_world() -> Any:
    """The module of stage 11's tests."""
    sys.path[:0] = ["stages", "stages/11_oci"]
    return importlib.import_module("engine_world")


@contextlib.contextmanager
def world() -> Iterator:
    """An engine_world in which nothing runs."""
    reason = engine_world().why_not_here("catatonit")
    if reason:
        raise SystemExit(reason)
    with engine_world().engine_world("catatonit", "-P") as made:
        yield made


def run_inside(module: str, words: Sequence[str]) -> int:
    """The same module in the world, where it is called with --inside."""
    with world() as made:
        return made.run("sh", "-c", 'cd "$0" && exec "$@"', os.getcwd(), sys.executable, "-B", "-m",
                        f"harness.conformance.{module}", "--inside", *words, timeout=7200,
                        stdout=None, stderr=None,
                        env={**os.environ, **made.environment()}).returncode


def workspace() -> pathlib.Path:
    """Where setup.sh has put what it fetched."""
    return pathlib.Path(os.environ.get("BUILD_WORKSPACE_DIRECTORY", "."))


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
