"""A submission: a program, or a directory that is built into one. It is not trusted.

It is built in a copy of its directory, inside bubblewrap: without a network, with only the files of
this machine that compilers need, within a time limit. The directory itself does not change.
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
import threading
import time
from typing import Callable, Dict, Iterator, List, Optional, Sequence, Set, Tuple

from harness import places
from harness.grading import folders
from harness.grading.folders import Unwieldy

LOG_LINES = 40
LARGEST = 1 << 30  # bytes: of what is copied, of each file that a build writes, and of its /tmp
MOST_PROCESSES = 256
# The minimum that a build must leave for others. A build that has itself used more than that is
# ended.
LEAST_FREE = 512 << 20  # bytes on the disk
LEAST_FILES = 10_000  # that can still be made there
LEAST_MEMORY = 1 << 30  # bytes

# The directories that a compiler may see. The rest of the machine is hidden.
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc/alternatives", "/etc/bazel",
          "/etc/ld.so.cache", *sorted(glob.glob("/etc/java-*")))  # Bazel's own Java
NOBODY = 65534
# Each build of root's is a user of its own, as far as there are so many: the limit to processes is
# one for all of a user's, see getrlimit(2). These ids are far from those that systems give away.
FIRST_BUILDER = 1_900_000_000
MOST_BUILDERS = 64  # of one grader

# Machine numbers of ELF files, see elf(5) and /usr/include/elf.h.
MACHINES = {3: "i686", 40: "armv7l", 62: "x86_64", 183: "aarch64", 243: "riscv64"}


class NotGradable(Exception):
    """There is no program to grade: why, in one line. `log` is the end of the build's output."""

    def __init__(self, why: str, log: str = "") -> None:
        super().__init__(why)
        self.log = log


@dataclasses.dataclass(frozen=True)
class Program:
    """The result of a build: the program, and the end of the build's output."""

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
            raise NotGradable(f"{submission} does not exist")
        check_program(submission)
        return Program(submission)
    except Unwieldy as error:
        raise NotGradable(str(error)) from error
    except OSError as error:
        raise NotGradable(f"{error.filename or submission}: {error.strerror}") from error


def program_of_folder(folder: pathlib.Path, stage: str, scratch: pathlib.Path,
                      build_limit: float, confined: bool) -> Program:
    copy = scratch / "submission"
    folders.check_size(folder, LARGEST)
    folders.copy(folder, copy)
    seen_at = pathlib.Path("/submission") if confined else copy  # by the build
    command = build_command(copy, stage, seen_at)
    log = build(command, copy, build_limit, seen_at) if command else ""
    path = find_program(copy, stage)
    if path is None:
        why = "its build has made" if command else "no build.sh, Makefile or BUILD.bazel, and"
        raise NotGradable(f"{why} no program called {stage}_..., or {stage}", log)
    check_program(path)
    return Program(path, log)


def build_command(folder: pathlib.Path, stage: str, seen_at: pathlib.Path) -> Optional[List[str]]:
    """The command that builds a directory, which the build sees at another path."""
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
    if seen_at != folder and shutil.which("bwrap") is None:
        raise NotGradable("it must be built, and there is no bwrap for that: ./setup.sh")
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "USER": "student", "LC_ALL": "C.UTF-8"}
    log_path = folder.parent / "build.log"
    with builder() as user, open(log_path, "wb") as log, \
            inherited_by_all() as (inherited, wait_for_all):
        words = [*limited(), *become(user, folder),
                 *(confined_words(folder, seen_at) if seen_at != folder else [])]
        process = subprocess.Popen([*words, *command], stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=log, start_new_session=True, pass_fds=(inherited,),
                                   cwd=folder, env=environment)
        trouble = ""
        try:
            end = time.monotonic() + limit
            while process.poll() is None and time.monotonic() < end and not places.stopped.is_set():
                trouble = takes_all(process.pid, folder)
                if trouble:
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
    if trouble:
        raise NotGradable(trouble, said)
    if status is None:
        raise NotGradable(f"its build does not end within {limit:.0f} s", said)
    if status != 0:
        raise NotGradable(f"its build failed: {' '.join(command)}: status {status}", said)
    return said


def limited() -> List[str]:
    """If memory is short, the kernel should kill a build, not its grader."""
    return ["choom", "-n", "1000", "--", "prlimit", f"--fsize={LARGEST}",
            f"--nproc={MOST_PROCESSES}", "--core=0", "--"]


def confined_words(folder: pathlib.Path, seen_at: pathlib.Path) -> List[str]:
    """bubblewrap, which shows a build a copy of the submission and what compilers need. What lies
    in memory has a limit."""
    small, large = str(64 << 20), str(LARGEST)
    return ["bwrap", "--unshare-all", "--new-session", "--die-with-parent",
            "--proc", "/proc", "--dev", "/dev", "--size", small, "--tmpfs", "/dev/shm",
            "--remount-ro", "/dev", "--size", large, "--tmpfs", "/tmp",
            "--size", small, "--tmpfs", "/root",
            *(word for path in SYSTEM if os.path.lexists(path) for word in bind(path)),
            "--bind", str(folder), str(seen_at), "--chdir", str(seen_at), "--"]


def takes_all(pid: int, folder: pathlib.Path) -> str:
    """What the build whose process is `pid` leaves too little of for others, or "". Only its own
    use counts."""
    disk = os.statvfs(folder)
    if disk.f_bavail * disk.f_frsize < LEAST_FREE and used(folder, "--block-size=1") > LEAST_FREE:
        return f"its build leaves less than {LEAST_FREE >> 20} MiB on the disk"
    is_short = disk.f_files and disk.f_favail < LEAST_FILES
    if is_short and used(folder, "--inodes") > LEAST_FILES:
        return f"its build leaves room for fewer than {LEAST_FILES} files on the disk"
    if memory_left() < LEAST_MEMORY and memory_of(pid) > LEAST_MEMORY:
        return f"its build leaves less than {LEAST_MEMORY >> 20} MiB of memory"
    return ""


def used(folder: pathlib.Path, unit: str) -> int:
    """du(1) walks by descriptors: no folder is too deep for it."""
    said = subprocess.run(["du", "-s", unit, "--", str(folder)], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout
    return int(said.split()[0]) if said else 0


def memory_left() -> int:
    return field_of("/proc/meminfo", "MemAvailable")


def memory_of(pid: int) -> int:
    """The number of bytes that a process and all its descendants have written, see proc(5)."""
    children: Dict[int, List[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            children.setdefault(field_of(f"/proc/{name}/status", "PPid", 1), []).append(int(name))
    family = [pid]
    for parent in family:  # which grows in the meantime
        family += children.get(parent, [])
    return sum(field_of(f"/proc/{member}/status", name)
               for member in family for name in ("RssAnon", "RssShmem"))


def field_of(path: str, name: str, unit: int = 1024) -> int:
    """A number of a file in /proc; 0 if its process has ended."""
    with contextlib.suppress(OSError):
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.partition(":")
                if key == name:
                    return int(value.split()[0]) * unit
    return 0


@contextlib.contextmanager
def inherited_by_all() -> Iterator[Tuple[int, Callable[[], None]]]:
    """A descriptor for a process to inherit, and a function that waits until all processes that
    have it have ended."""
    reader, writer = os.pipe()

    def wait_for_all() -> None:
        os.close(writer)
        select.select([reader], [], [], 10)

    with os.fdopen(reader):
        yield writer, wait_for_all


builders: Set[int] = set()
at_the_builders = threading.Lock()
one_at_a_time = threading.Lock()


@contextlib.contextmanager
def builder() -> Iterator[Optional[int]]:
    """The user of a build. Where there are no users to choose from, one build goes on at a time: it
    must not find the processes of another one among its own."""
    if os.geteuid() != 0:
        with one_at_a_time:
            yield None
        return
    with at_the_builders:
        slot = min(set(range(MOST_BUILDERS)) - builders)
        builders.add(slot)
    user = FIRST_BUILDER + os.getpid() * MOST_BUILDERS + slot
    try:
        if is_mapped(user):
            yield user
        else:
            with one_at_a_time:
                yield NOBODY
    finally:
        with at_the_builders:
            builders.remove(slot)


def is_mapped(user: int) -> bool:
    """Whether there is such a user, and group, in this user namespace."""
    def covers(path: str) -> bool:
        lines = pathlib.Path(path).read_text(encoding="ascii").splitlines()
        return any(int(first) <= user < int(first) + int(count)
                   for first, _, count in (line.split() for line in lines))
    return covers("/proc/self/uid_map") and covers("/proc/self/gid_map")


def become(user: Optional[int], folder: pathlib.Path) -> List[str]:
    """The kernel does not limit root's processes, see getrlimit(2), so root's builds run as another
    user."""
    if user is None:
        return []
    folder.parent.chmod(0o711)
    for path in [folder, *(entry.path for entry in folders.entries(folder))]:
        os.chown(path, user, user, follow_symlinks=False)
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--"]


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
    found = [entry.path for entry in folders.entries(folder) if entry.is_file
             and (entry.path.name == stage or entry.path.name.startswith(f"{stage}_"))
             and os.access(entry.path, os.X_OK)]
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
