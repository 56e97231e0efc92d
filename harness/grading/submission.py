"""A submission: a program, or a folder that is built into one. Nothing of it is trusted.

It is built in a copy of its folder, with bubblewrap around it: no network, no file of this machine
but what compilers need, no longer than a limit. The folder itself stays as it is.
"""

from __future__ import annotations

import contextlib
import dataclasses
import glob
import os
import pathlib
import platform
import select
import shutil
import signal
import subprocess
import time
from typing import Callable, Iterator, List, Optional, Sequence, Tuple

from harness import places

LOG_LINES = 40
LARGEST = 1 << 30  # bytes: of what is copied, and of each file that a build writes
MOST_PROCESSES = 256
LEAST_FREE = 512 << 20  # bytes: what a build leaves on the disk, for all others

# What a compiler may see. The rest of the machine is not there.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/bazel",
          "/etc/ld.so.cache", *sorted(glob.glob("/etc/java-*")))  # Bazel's own Java
NOBODY = 65534

# Machine numbers of ELF files, see elf(5) and /usr/include/elf.h.
MACHINES = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


class NotGradable(Exception):
    """There is no program to grade: why, in one line. `log` is the end of what a build wrote."""

    def __init__(self, why: str, log: str = "") -> None:
        super().__init__(why)
        self.log = log


@dataclasses.dataclass(frozen=True)
class Program:
    """What a submission has become: the program, and the end of what its build wrote."""

    path: pathlib.Path
    log: str = ""


def program_of(submission: pathlib.Path, stage: str, scratch: pathlib.Path,
               build_limit: float = 300.0, confined: bool = True) -> Program:
    """The program of a submission for a stage. Built in `scratch`, an empty directory of ours;
    without bubblewrap around it only where nothing is to be protected."""
    try:
        if submission.is_dir():
            return program_of_folder(submission, stage, scratch, build_limit, confined)
        if not submission.exists():
            raise NotGradable(f"{submission} is not there")
        check_program(submission)
        return Program(submission)
    except OSError as error:
        raise NotGradable(f"{error.filename or submission}: {error.strerror}") from error


def program_of_folder(folder: pathlib.Path, stage: str, scratch: pathlib.Path,
                      build_limit: float, confined: bool) -> Program:
    copy = scratch / "submission"
    copy_folder(folder, copy)
    seen_at = pathlib.Path("/submission") if confined else copy  # by the build
    command = build_command(copy, stage, seen_at)
    log = build(command, copy, build_limit, seen_at) if command else ""
    path = find_program(copy, stage)
    if path is None:
        why = "its build has made" if command else "no build.sh, Makefile or BUILD.bazel, and"
        raise NotGradable(f"{why} no program called {stage}_..., or {stage}", log)
    check_program(path)
    return Program(path, log)


def copy_folder(folder: pathlib.Path, copy: pathlib.Path) -> None:
    """Links stay links, so that none brings a file of this machine along."""
    size = 0
    for path in folder.rglob("*"):
        size += path.lstat().st_size
        if size > LARGEST:
            raise NotGradable(f"it is larger than {LARGEST >> 20} MiB")
        if not (path.is_symlink() or path.is_dir() or path.is_file()):
            raise NotGradable(f"{path.relative_to(folder)} is neither a file, a folder nor a link")
    shutil.copytree(folder, copy, symlinks=True)


def build_command(folder: pathlib.Path, stage: str, seen_at: pathlib.Path) -> Optional[List[str]]:
    """How a folder wants to be built, which the build sees at another place."""
    if (folder / "build.sh").is_file():
        return ["sh", "./build.sh"]
    if any((folder / name).is_file() for name in ("Makefile", "makefile", "GNUmakefile")):
        return ["make", f"-j{os.cpu_count() or 1}"]
    if any((folder / name).is_file() for name in ("BUILD.bazel", "BUILD", "WORKSPACE")):
        own = sorted(path.parent for path in folder.glob(f"stages/{stage}_*/BUILD*"))
        target = f"//{own[0].relative_to(folder)}" if own else "//..."
        return ["bazel", "--batch", f"--output_user_root={seen_at}/.bazel", "build",
                f"--symlink_prefix={seen_at}/.bazel-", "--spawn_strategy=local", target]
    return None


def build(command: Sequence[str], folder: pathlib.Path, limit: float,
          seen_at: pathlib.Path) -> str:
    """Builds, in bubblewrap unless the folder is seen where it is, and returns the end of what that
    wrote."""
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "USER": "student", "LC_ALL": "C.UTF-8"}
    words = ["prlimit", f"--fsize={LARGEST}", f"--nproc={MOST_PROCESSES}", "--core=0", "--",
             *be_nobody(folder)]
    if seen_at != folder:
        if shutil.which("bwrap") is None:
            raise NotGradable("it must be built, and there is no bwrap for that: ./setup.sh")
        words += ["bwrap", "--unshare-all", "--new-session", "--die-with-parent",
                  "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/root",
                  *(word for path in SYSTEM if os.path.lexists(path) for word in bind(path)),
                  "--bind", str(folder), str(seen_at), "--chdir", str(seen_at), "--"]
    log_path = folder.parent / "build.log"
    with open(log_path, "wb") as log, inherited_by_all() as (inherited, wait_for_all):
        process = subprocess.Popen([*words, *command], stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, start_new_session=True, pass_fds=(inherited,),
                                   cwd=folder, env=environment)
        try:
            end = time.monotonic() + limit
            is_full = False
            while process.poll() is None and time.monotonic() < end and not places.stopped.is_set():
                is_full = shutil.disk_usage(folder).free < LEAST_FREE
                if is_full:
                    break
                time.sleep(0.05)
            status: Optional[int] = process.poll()
        finally:
            if process.poll() is None:
                # With bwrap's PID 1 all of the build ends, see pid_namespaces(7).
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            wait_for_all()
    said = end_of(log_path)
    if is_full:
        raise NotGradable(f"its build leaves less than {LEAST_FREE >> 20} MiB on the disk", said)
    if status is None:
        raise NotGradable(f"its build does not end within {limit:.0f} s", said)
    if status != 0:
        raise NotGradable(f"its build has failed: {' '.join(command)}: status {status}", said)
    return said


@contextlib.contextmanager
def inherited_by_all() -> Iterator[Tuple[int, Callable[[], None]]]:
    """A descriptor for a process to inherit, and what waits until all that have it are gone."""
    reader, writer = os.pipe()

    def wait_for_all() -> None:
        os.close(writer)
        select.select([reader], [], [], 10)

    with os.fdopen(reader):
        yield writer, wait_for_all


def be_nobody(folder: pathlib.Path) -> List[str]:
    """Root's builds are nobody's: for root there is no limit to processes, see getrlimit(2)."""
    if os.geteuid() != 0:
        return []
    folder.parent.chmod(0o711)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--"]


def bind(path: str) -> List[str]:
    """/bin is a link to usr/bin today, and stays one."""
    if os.path.islink(path):
        return ["--symlink", os.readlink(path), path]
    return ["--ro-bind", path, path]


def end_of(log: pathlib.Path) -> str:
    with open(log, "rb") as file:
        file.seek(max(0, log.stat().st_size - 16 * 1024))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-LOG_LINES:])


def find_program(folder: pathlib.Path, stage: str) -> Optional[pathlib.Path]:
    """An executable file called "05" or "05_anything", the uppermost if there are several."""
    found = [path for pattern in (stage, f"{stage}_*") for path in folder.rglob(pattern)
             if path.is_file() and not path.is_symlink() and os.access(path, os.X_OK)
             and path.resolve().is_relative_to(folder.resolve())]
    return min(found, key=lambda path: (len(path.parts), str(path)), default=None)


def check_program(path: pathlib.Path) -> None:
    """Whether this machine could run it: a script, or a program for this processor."""
    with open(path, "rb") as file:
        head = file.read(64)
    if head[:2] == b"#!":
        return
    if head[:4] != b"\x7fELF":
        raise NotGradable(f"{path.name} is neither a program nor a script")
    machine = int.from_bytes(head[18:20], "little" if head[5:6] == b"\x01" else "big")
    if MACHINES.get(machine) != platform.machine():
        raise NotGradable(f"{path.name} is for another processor:"
                          f" {MACHINES.get(machine, f'ELF machine {machine}')}")
