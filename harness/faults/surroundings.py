"""Scarce resources and odd surroundings, in which a start must go well or be refused."""

from __future__ import annotations

import itertools
from typing import Any, Callable, Dict, Iterator, Tuple

from harness.faults.case import INSIDE, Bench, Record, Surroundings
from harness.faults.configurations import FOLDER, Configuration
from harness.faults.isolation import ASKS
from harness.faults.world import CACHES, EXTRA_GROUP, PATH, World, WorldError

Group = Callable[[World, Configuration], Iterator[Surroundings]]

SIZES_OF_CACHE = ("4k", "64k", "512k", "1m", "2500k", "8m")
IN_OWN_MOUNTS: Dict[str, str] = {
    "no /proc": "umount -l /proc",
    "/proc is a tmpfs": "mount -t tmpfs x /proc",
    "/dev is empty": "mount -t tmpfs -o mode=755 x /dev",
    "/dev has null only": "mkdir /tmp/d; mount -t tmpfs -o mode=755 x /tmp/d;"
                          " mknod -m666 /tmp/d/null c 1 3; mount --move /tmp/d /dev; rmdir /tmp/d",
    "no /sys": "umount -l /sys",
    "/proc/sys is read-only": "mount --bind /proc/sys /proc/sys;"
                              " mount -o remount,ro,bind /proc/sys",
    "/run is read-only": "mount -t tmpfs -o ro x /run",
    "the cache is read-only": "mount --bind {cache} {cache}; mount -o remount,ro,bind {cache}",
    "the root is shared": "mount --make-rshared /",
}

# Before stage 04, the command sees the host's mounts, and at 01 its environment.
THE_HOSTS = ("environ", "namespace mnt", "mounts", *[f"inside {path}" for path in INSIDE])
FOR_A_BRIDGE = {
    "nft fails": "mount --bind /bin/false $(command -v nft)",
    "nft cannot be executed": "mount --bind /etc/hostname $(command -v nft)",
    "/proc/sys/net is read-only": "mount --bind /proc/sys/net /proc/sys/net;"
                                  " mount -o remount,ro,bind /proc/sys/net",
}


def descriptors(_: World, __: Configuration) -> Iterator[Surroundings]:
    for number in range(3, 31):  # by another program: the agent itself needs some to start ours
        # The probe needs some for what it asks.
        asked = tuple(f"asked {ask}" for ask in ASKS) if number < 10 else ()
        yield Surroundings(f"RLIMIT_NOFILE {number}", ("limits", *asked),
                           ("/usr/bin/prlimit", f"--nofile={number}", "--"))


def processes(_: World, configuration: Configuration) -> Iterator[Surroundings]:
    if configuration.user:  # root is not limited
        for number in range(0, 9):
            yield limited("nproc", number, f"RLIMIT_NPROC {number}")


def memory(_: World, __: Configuration) -> Iterator[Surroundings]:
    kilobytes = {"as": (1500, 2500, 3000, 3500, 4000, 6000, 8000, 12000, 16000, 32000),
                 "data": (0, 64, 128, 192, 256, 512), "stack": (8, 16, 32, 64, 256)}
    for name, sizes in kilobytes.items():
        for size in sizes:
            yield limited(name, size * 1024, f"RLIMIT_{name.upper()} {size} kB")


def file_size(_: World, __: Configuration) -> Iterator[Surroundings]:
    yield limited("fsize", 0, "RLIMIT_FSIZE 0")
    yield limited("fsize", 0, "RLIMIT_FSIZE 0, SIGXFSZ ignored", ignore=["XFSZ"])


def limited(name: str, value: int, case: str, **more: Any) -> Surroundings:
    # The probe works in a child of its own, for which there may be no process left.
    asked = tuple(f"asked {ask}" for ask in ASKS) if name == "nproc" else ()
    return Surroundings(case, ("limits", "status SigIgn", *asked),
                        circumstances={"limits": {name: value}, **more})


def files(_: World, configuration: Configuration) -> Iterator[Surroundings]:
    """Standard files that are closed, full, or a directory. We do not wait for the command's
    output, which is lost."""
    if configuration.terminal:
        return
    goes_on = {"close_stdin": True}
    for count in (1, 2, 3):
        for closed in itertools.combinations(range(3), count):
            name = "closed: " + ", ".join(map(str, closed))
            yield Surroundings(name, ("descriptors",),
                               circumstances={"closed": list(closed), **goes_on})
    for number, path in ((0, "/tmp"), (1, "/dev/full"), (2, "/dev/full")):
        yield Surroundings(f"{number} is {path}", ("descriptors",), circumstances={
            "files": [{"fd": number, "path": path, "writable": number > 0}], **goes_on})


def surroundings(world: World, configuration: Configuration) -> Iterator[Surroundings]:
    usual = {"PATH": PATH, "HOME": f"{FOLDER}/home", "TERM": "dumb"}

    def without(name: str) -> Dict[str, str]:
        return {key: value for key, value in usual.items() if key != name}

    def started(name: str, *ignored: str, **circumstances: Any) -> Surroundings:
        return Surroundings(name, ("environ", *ignored), circumstances=circumstances)

    yield started("HOME unset", env=without("HOME"))
    yield started("HOME does not exist", env={**usual, "HOME": "/nonexistent"})
    yield started("XDG_CACHE_HOME is relative", env={**usual, "XDG_CACHE_HOME": "x"})
    yield started("no environment", env={})
    yield started("PATH unset", env=without("PATH"))
    yield started("PATH is empty", env={**usual, "PATH": ""})
    yield started("environment of 1.9 MB",
                  env={**usual, **{f"V{i}": "x" * 100_000 for i in range(19)}})
    for mask in (0o777, 0o077, 0):
        yield started(f"umask {mask:o}", "status Umask", umask=mask)
    signals = ["CHLD", "INT", "TERM", "HUP", "PIPE"]
    yield started("signals are ignored", "status SigIgn", ignore=signals)
    yield started("signals are blocked", "status SigBlk", block=signals)
    yield Surroundings("the working directory is gone", wrapper=in_shell(
        world, configuration, "mkdir /tmp/gone; cd /tmp/gone; rmdir /tmp/gone"),
        circumstances={"user": None})
    scripts = {**IN_OWN_MOUNTS, **(FOR_A_BRIDGE if configuration.bridge else {})}
    for name, script in scripts.items():
        cache = CACHES[configuration.user]
        script = script.replace("{cache}", cache)
        owner = f"-o {world.uid} -g {world.gid} " if configuration.user else ""
        script = f"[ -d {cache} ] || install -d -m 700 {owner}{cache}; {script}"
        yield Surroundings(name, THE_HOSTS * (configuration.program < "04"),
                           wrapper=("/usr/bin/unshare", "--mount",
                                    *in_shell(world, configuration, script)),
                           circumstances={"user": None})


def in_shell(world: World, configuration: Configuration, script: str) -> Tuple[str, ...]:
    """Runs a script as root, then the program as the user who starts it."""
    become = ""
    if configuration.user:
        become = (f"setpriv --reuid={world.uid} --regid={world.gid}"
                  f" --groups={world.gid},{EXTRA_GROUP} ")
    return ("/bin/sh", "-c", f'{script} || exit 77; exec {become}"$@"', "sh")


def caches(_: World, configuration: Configuration) -> Iterator[Surroundings]:
    """A disk that is full while the cache is filled. With more room, the next start must work."""
    if not configuration.cold:
        return
    cache = CACHES[configuration.user]
    for size in SIZES_OF_CACHE:
        yield Surroundings(f"{size} for the cache",
                           before=f"mount -t tmpfs -o size={size},mode=700 small {cache}",
                           between=f"mount -o remount,size=256m {cache}",
                           after=f"umount -l {cache}")


GROUPS: Dict[str, Group] = {
    "descriptors": descriptors, "processes": processes, "memory": memory, "file size": file_size,
    "files": files, "surroundings": surroundings, "caches": caches,
}


def try_case(bench: Bench, group: str, name: str) -> Record:
    """It is made for the bench's world: each has an ordinary user with a number of its own."""
    for odd in GROUPS[group](bench.world, bench.configuration):
        if odd.name == name:
            return bench.try_surroundings(group, odd)
    raise WorldError(f"no case of '{group}' is called '{name}'")
