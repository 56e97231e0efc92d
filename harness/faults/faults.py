"""Which faults are tried: for each system call that a usual start makes, the errors that fit it."""

from __future__ import annotations

import dataclasses
import errno
from typing import Dict, Iterator, List, Sequence, Tuple

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

CAPABILITY_CALLS = ("23 ", "24 ")  # prctl(2) with PR_CAPBSET_READ, PR_CAPBSET_DROP
SOME_CAPABILITIES = frozenset("0 1 21 40 41".split())  # of 41, in loops: a sufficient sample
# Only the first few of many equal calls: posix_spawn(3) resets 64 signals, and --verbose writes a
# line for each call.
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
    for line in log.splitlines():
        what, *fields = line.split("\t")
        if what != "call":
            continue
        process, name, nth, result, text = fields
        if calls or (process == "0" and name in FIRST_OF_MAIN):
            calls.append(Call(process, name, int(nth), result, text))
    return calls


def faults_for(calls: Sequence[Call], kind: str, every_capability: bool = False
               ) -> Iterator[Fault]:
    """All faults of a kind. The capabilities are tried one by one on demand only."""
    for call in calls:
        repeats = ((call.process != "0" and call.name == "rt_sigaction") or
                   (call.name == "write" and call.text.startswith("2 ")))
        if repeats and call.nth > FIRST_FEW:
            continue
        of_capability = call.name == "prctl" and call.text.startswith(CAPABILITY_CALLS)
        if of_capability and not every_capability and (
                call.text.split()[1] not in SOME_CAPABILITIES):
            continue
        if kind in (KILL, RESTART) or (kind == KILL_OTHER and call.process != "0"):
            yield Fault(kind, call)
        elif kind == FAIL and call.name not in NEVER_FAIL:
            for error in ERRNOS.get(call.name, OF_ANY):
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
