"""Runs a command, or a shell, in a virtual machine with a stock Debian kernel.

The stages are there, in PATH. Changes in the machine are thrown away when it ends. While it runs,
--join in a second terminal starts another shell in the same machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

from harness.vm.image import DEFAULT_KERNEL, SUITES, VmError
from harness.vm.vm import Vm, joined


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bazel run //harness/vm --", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kernel", choices=list(SUITES), default=DEFAULT_KERNEL,
                        help="default: %(default)s")
    parser.add_argument("--selinux", action="store_true",
                        help="with SELinux and its default policy, in place of AppArmor")
    parser.add_argument("--engines", action="store_true",
                        help="with podman, containerd and other programs that drive stage 11")
    parser.add_argument("--user", action="store_true", help="as an ordinary user, uid 1000")
    parser.add_argument("--join", action="store_true",
                        help="in the machine that you started last and that still runs, in another "
                        "terminal")
    parser.add_argument("--time-limit", type=float, metavar="SECONDS",
                        help="end the command after this many seconds, with status 124")
    parser.add_argument("--with", dest="programs", action="append", default=[], metavar="PROGRAM",
                        help="copy it into the machine's PATH; may be repeated")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND [ARG...]",
                        help="default: a shell")
    return parser.parse_args()


def machine(arguments: argparse.Namespace) -> Vm:
    programs = os.environ.get("HARNESS_STAGES", "").split() + arguments.programs
    return Vm(arguments.kernel, programs, selinux=arguments.selinux, engines=arguments.engines)


def main() -> int:
    arguments = parse()
    os.chdir(os.environ.get("BUILD_WORKING_DIRECTORY", "."))
    command = arguments.command
    if command[:1] == ["--"]:
        del command[0]
    terminal = os.isatty(0) and os.isatty(1)
    try:
        with joined() if arguments.join else machine(arguments) as vm:
            if not arguments.join:
                vm.invite()
            return subprocess.run(vm.command(command or ["bash"], arguments.user, terminal),
                                  timeout=arguments.time_limit, check=False).returncode
    except subprocess.TimeoutExpired:
        return 124
    except VmError as error:
        print(f"harness/vm: {error}", file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
