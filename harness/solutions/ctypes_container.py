#!/usr/bin/python3 -IS
"""Stages 01, 02 and 04 in Python, by its file name: 01_anything runs a command, 02_anything also
changes the root, 04_anything also makes namespaces. It knows no --userspace and no --init.
"""

import ctypes
import os
import select
import signal
import sys
import termios

FORWARDED = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1,
             signal.SIGUSR2}
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWPID = 0x20000, 0x4000000, 0x8000000, 0x20000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 1 << 18
PR_SET_PDEATHSIG = 1
SI_KERNEL = 0x80
NAME = os.path.basename(sys.argv[0])
STAGE = NAME[:2]
libc = ctypes.CDLL(None, use_errno=True)


def stop(why: object, status: int = 125) -> None:
    os.write(2, f"{NAME}: {why}\n".encode())
    os._exit(status)


def check(result: int, call: str) -> None:
    if result == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), call)


def parse(words):
    given = {"--rootfs": "", "--hostname": NAME, "-w": "", "-e": []}
    aliases = {"--workdir": "-w", "--env": "-e"}
    while words and words[0].startswith("-"):
        word = words.pop(0)
        if word == "--":
            break
        name, equals, value = word.partition("=")
        name = aliases.get(name, name)
        if name not in given:
            stop(f"unknown option {word}")
        if not equals:
            value = words.pop(0) if words else stop(f"{word} needs a value")
        if name == "-e":
            given[name].append(value.partition("=")[::2])
        else:
            given[name] = value
    if not words:
        stop("no command given")
    return given, words


def make_container(given, parent: int) -> None:
    if STAGE >= "04":
        check(libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None), "mount(/, private)")
        name = given["--hostname"].encode()
        check(libc.sethostname(name, len(name)), "sethostname()")
    if STAGE >= "02":
        os.chdir(given["--rootfs"])
        os.chroot(".")
    if STAGE >= "04":
        flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
        check(libc.mount(b"proc", b"/proc", b"proc", flags, None), "mount(/proc)")
        check(libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0), "prctl()")
        if select.select([parent], [], [], 0)[0]:
            stop("the parent has died")


def run_child(given, command, mask, parent: int) -> None:
    try:
        make_container(given, parent)
        environment = dict(os.environ)
        if STAGE >= "02":
            environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root",
                           "TERM": os.environ.get("TERM", "dumb")}
        environment.update(given["-e"])
        if given["-w"]:
            os.chdir(given["-w"])
    except OSError as error:
        stop(error)
    os.closerange(3, 4096)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    try:
        os.execvpe(command[0], command, environment)
    except FileNotFoundError as error:
        stop(f"{command[0]}: {error.strerror}", 127)
    except OSError as error:
        stop(f"{command[0]}: {error.strerror}", 126)


def wait_for(child: int, watched) -> int:
    while True:
        info = signal.sigwaitinfo(watched)
        if info.si_signo != signal.SIGCHLD:
            from_terminal = info.si_code == SI_KERNEL  # and so for all of our process group
            if not from_terminal:
                os.kill(child, info.si_signo)
            continue
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid == child:
            return os.waitstatus_to_exitcode(status)


def main() -> None:
    given, command = parse(sys.argv[1:])
    if STAGE >= "02" and os.geteuid() != 0:
        stop("this needs root")
    modes = termios.tcgetattr(0) if os.isatty(0) else None
    watched = FORWARDED | {signal.SIGCHLD}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, watched)
    parent = os.pidfd_open(os.getpid())
    if STAGE >= "04":
        try:
            check(libc.unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID),
                  "unshare()")
        except OSError as error:
            stop(error)
    child = os.fork()
    if child == 0:
        run_child(given, command, mask, parent)
    status = wait_for(child, watched)
    if modes:
        termios.tcsetattr(0, termios.TCSADRAIN, modes)
    os._exit(status if status >= 0 else 128 - status)


main()
