"""Which faults are tried: for each system call that a usual start makes, the errors that fit it."""

from __future__ import annotations

import collections
import dataclasses
import errno
from typing import Counter, Dict, Iterator, List, Optional, Sequence, Tuple

FAIL, RETURN, KILL, KILL_OTHER, RESTART = "fail", "return", "kill", "kill-other", "kill-restart"
KINDS = (FAIL, RETURN, KILL, KILL_OTHER, RESTART)
KILLS = (KILL, KILL_OTHER, RESTART)

# The first call of main(): the calls before it are the C library's, which ends the program if they
# fail.
FIRST_OF_MAIN = ("fcntl", "getuid", "prctl")

# They cannot fail, or end the process.
NEVER_FAIL = frozenset("""
    arch_prctl clock_gettime exit exit_group futex getegid geteuid getgid getpgid getpgrp getpid
    getppid gettid getuid restart_syscall rseq rt_sigreturn set_robust_list set_tid_address umask
    vfork""".split())

_ERRNOS: Sequence[Tuple[str, str]] = (
    ("open openat openat2 open_tree", "EMFILE EACCES EIO"),
    ("pipe2 socket socketpair signalfd4 memfd_create eventfd2", "EMFILE ENFILE ENOMEM"),
    ("pidfd_open", "EMFILE ENOSYS EPERM"),
    ("read pread64 recvfrom recvmsg getdents64", "EIO EINTR ENOMEM"),
    ("write pwrite64", "ENOSPC EIO EINTR"),
    ("sendto sendmsg", "ENOBUFS EPERM EINTR"),
    ("close", "EIO EINTR ENOSPC"),
    ("clone clone3 fork", "EAGAIN ENOMEM EPERM ENOSYS"),
    ("poll ppoll", "EINTR ENOMEM"),
    ("wait4 waitid", "ECHILD EINTR"),
    ("mkdir mkdirat mknod mknodat symlink symlinkat rename linkat link", "ENOSPC EROFS EACCES"),
    ("mmap brk munmap mprotect mremap", "ENOMEM"),
    ("newfstatat stat lstat fstat access faccessat faccessat2 readlink statx statfs fstatfs",
     "EACCES EIO ENOMEM"),
    ("rt_sigprocmask rt_sigaction", "EINVAL"),
    ("prctl", "EPERM EINVAL EACCES"),
    ("flock", "EINTR ENOLCK EIO"),
    ("capset setresuid setresgid setgroups", "EPERM EAGAIN EINVAL"),
    ("execve", "EACCES ENOMEM ETXTBSY"),
    ("kill pidfd_send_signal", "EPERM ESRCH"),
    ("unlink rmdir unlinkat", "EBUSY EROFS EIO"),
    ("fchmod chmod fchmodat fchown fchownat utimensat ftruncate fsetxattr fremovexattr",
     "EPERM EIO EROFS"),
    ("setns unshare", "EPERM ENOMEM ENOSPC"),
    ("mount umount2 pivot_root move_mount fsopen fsmount fsconfig mount_setattr chroot",
     "EPERM ENOMEM ENOSYS EINVAL"),
    ("seccomp", "EPERM EINVAL ENOMEM"),
    ("close_range", "EINVAL ENOSYS EMFILE"),
    ("chdir fchdir", "EACCES EIO ENOMEM"),
    ("getrandom", "ENOSYS EAGAIN"),
    ("bind listen connect", "EADDRINUSE EACCES ENOBUFS"),
)
ERRNOS: Dict[str, List[str]] = {call: errors.split() for calls, errors in _ERRNOS
                                for call in calls.split()}
OF_ANY = ["EPERM", "ENOMEM", "EIO"]
assert all(hasattr(errno, name) for names in ERRNOS.values() for name in names)

# The first argument, or the second of ioctl(2), of calls that are made in loops: PR_CAPBSET_READ,
# PR_CAPBSET_DROP; stderr; SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND.
LOOPS = {"prctl": ("23", "24"), "write": ("2",), "ioctl": ("0xc0502100", "0xc0182101")}
# Of the calls of a loop, the first few and the last: such as posix_spawn(3), which resets 64
# signals, and --verbose, which writes a line for each call.
FIRST_FEW = 3


@dataclasses.dataclass(frozen=True)
class Call:
    """A system call of a usual start, as inject/tracer.h logs it."""

    process: str
    name: str
    nth: int
    result: str
    text: str

    @property
    def point(self) -> str:
        return f"{self.process}:{self.name}:{self.nth}"


@dataclasses.dataclass(frozen=True)
class Fault:
    """What `inject` is told, and of which call."""

    kind: str
    call: Call
    error: str = ""  # an errno's name, or a number of bytes

    def words(self) -> List[str]:
        point = self.call.point
        if self.kind in (KILL, RESTART):
            return ["--kill", f"0@{point}"]
        if self.kind == KILL_OTHER:
            return ["--kill", f"{self.call.process}@{point}"]
        return [f"--{self.kind}", f"{point}:{self.error}"]

    @property
    def name(self) -> str:
        return " ".join(self.words())


def fault_called(kind: str, name: str) -> Fault:
    """The fault with this name, to try a case again."""
    place = name.rpartition("@")[2].rpartition(" ")[2]
    process, call, nth, *error = place.split(":")
    return Fault(kind, Call(process, call, int(nth), "", ""), "".join(error))


def calls_of(log: str) -> List[Call]:
    """Those of a log, from main() on."""
    calls: List[Call] = []
    is_in_main = False
    for line in log.splitlines():
        what, *fields = line.split("\t")
        if what != "call":
            continue
        process, name, nth, result, text = fields
        is_in_main = is_in_main or (process == "0" and name in FIRST_OF_MAIN)
        if is_in_main:
            calls.append(Call(process, name, int(nth), result, text))
        if process == "0" and name == "execveat":  # stage 11 begins again, as a copy of its file
            is_in_main = False
    return calls


def loop_of(call: Call, cold: bool) -> Optional[Tuple[str, ...]]:
    """Which loop makes this call, if it is one that is known: the same for all of its calls. A
    cache is filled in loops: there, the names of files and all numbers make no difference."""
    where = (call.process, call.name)
    words = call.text.split()
    if cold:
        return (*where, *["name" if word.strip("0123456789abcdefx") else "" for word in words])
    if call.name in ("prctl", "write", "ioctl"):  # a capability, a line of --verbose, a listener
        argument = words[0] if call.name != "ioctl" else words[1]
        return (*where, argument) if argument in LOOPS[call.name] else None
    return where if call.name == "rt_sigaction" and call.process != "0" else None


def without_loops(calls: Sequence[Call], cold: bool) -> List[Call]:
    loops: Dict[Optional[Tuple[str, ...]], List[Call]] = {}
    for call in calls:
        loops.setdefault(loop_of(call, cold), []).append(call)
    left_out = {call for loop, members in loops.items() if loop for call in members[FIRST_FEW:-1]}
    return [call for call in calls if call not in left_out]


def sample_of(calls: Sequence[Call]) -> List[Call]:
    """Of each process the first and the last call of each name."""
    last = {(call.process, call.name): call for call in calls}
    first = {(call.process, call.name): call for call in reversed(calls)}
    chosen = {*first.values(), *last.values()}
    return [call for call in calls if call in chosen]


def faults_for(calls: Sequence[Call], kind: str, quick: bool = False) -> Iterator[Fault]:
    """All faults of a kind; or, if it has to be `quick`, those of a sample of the calls, each with
    one of the errors, in turn."""
    turns: Counter[str] = collections.Counter()
    for call in sample_of(calls) if quick else calls:
        if kind in (KILL, RESTART) or (kind == KILL_OTHER and call.process != "0"):
            yield Fault(kind, call)
        elif kind == FAIL and call.name not in NEVER_FAIL:
            errors = ERRNOS.get(call.name, OF_ANY)
            if quick:
                errors = [errors[turns[call.name] % len(errors)]]
                turns[call.name] += 1
            for error in errors:
                yield Fault(kind, call, error)
        elif kind == RETURN:
            yield from short_results(call)


def short_results(call: Call) -> Iterator[Fault]:
    """Fewer bytes than were asked for."""
    moves_bytes = call.name in ("write", "pwrite64", "sendto", "read", "recvfrom")
    if not moves_bytes or not call.result.isdigit() or call.result == "0":
        return
    yield Fault(RETURN, call, "0")
    if int(call.result) > 1 and "write" in call.name:
        yield Fault(RETURN, call, "1")
