"""Runs pytest in the virtual machine, where the tests may do what this machine cannot.

    python3 -m harness.vm.pytest_in_vm [--kernel 6.12] [--selinux] [--engines] TEST.py...

It copies all files of its Bazel test into the machine, and copies pytest's report back. Under
emulation, Python is some twenty times slower, so use it for few tests. In the machine a skip is a
failure.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import subprocess
import sys
import xml.etree.ElementTree
from typing import List

from harness.vm.image import DEFAULT_KERNEL, SUITES, VmError
from harness.vm.vm import Vm

THERE = "/tmp/tests"
REPORT = "/tmp/report.xml"


def send_files(vm: Vm) -> None:
    """The files that Bazel has put here, with links followed, except most of the harness, which
    stays outside."""
    with subprocess.Popen(["tar", "-ch", "--exclude=./harness/*/*", "--exclude=./external", "."],
                          stdout=subprocess.PIPE) as tar:
        vm.run("sh", "-c", f"mkdir {THERE} && tar -xC {THERE}", stdin=tar.stdout).check_returncode()
    if tar.returncode != 0:
        raise VmError(f"the tests cannot be sent: tar ended with status {tar.returncode}")


def skipped_in(report: str) -> List[str]:
    return [f"{case.get('name')}: {skip.get('message')}"
            for case in xml.etree.ElementTree.fromstring(report).iter("testcase")
            for skip in case.iter("skipped")]


def main() -> int:
    parser = argparse.ArgumentParser(prog="harness.vm.pytest_in_vm")
    parser.add_argument("--kernel", choices=list(SUITES), default=DEFAULT_KERNEL)
    parser.add_argument("--selinux", action="store_true")
    parser.add_argument("--engines", action="store_true")
    machine, arguments = parser.parse_known_args()
    words = ["env", "PYTHONDONTWRITEBYTECODE=yes", f"XML_OUTPUT_FILE={REPORT}",
             f"TESTBRIDGE_TEST_ONLY={os.environ.get('TESTBRIDGE_TEST_ONLY', '')}",
             "sh", "-c", f'cd {THERE} && exec python3 bazel/pytest_main.py "$@"', "sh"]
    with Vm(machine.kernel, selinux=machine.selinux, engines=machine.engines) as vm:
        send_files(vm)
        status = vm.run(*words, *arguments, "-m", "not not_in_vm").returncode
        report = vm.run("cat", REPORT, stdout=subprocess.PIPE, text=True).stdout
    if "XML_OUTPUT_FILE" in os.environ:
        pathlib.Path(os.environ["XML_OUTPUT_FILE"]).write_text(report)
    skipped = skipped_in(report)
    for test in skipped:
        print(f"skipped in the VM, which must be able to: {test}")
    return status or int(bool(skipped))


if __name__ == "__main__":
    sys.exit(main())
