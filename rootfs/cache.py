"""Shows what the stages keep in this user's cache, and removes what no container uses.

    bazel run //rootfs:cache -- show
    bazel run //rootfs:cache -- prune [--older-than DAYS]

Built-in and copied roots, unpacked layers, compiled seccomp profiles, the images of the virtual
machine: all of these are made again when they are needed. Containers may run at the same time; what
they use is kept.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import pathlib
import pwd
import shutil
import stat
import sys
import time
from typing import Iterator, List, NamedTuple, Optional, Set, Tuple

NAME = "containers-under-the-hood"
FOLDERS = ("containers", "layers", "uppers", "vm")  # of entries; what else there is, is one


class Entry(NamedTuple):
    path: pathlib.Path
    size: int  # bytes on the disk
    used: float  # when it was made, or changed
    in_use: bool


def cache_directory() -> pathlib.Path:
    """As common/build_once.cc has it."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    if given.startswith("/") and os.path.isdir(given) and not is_replaceable(given):
        return pathlib.Path(os.path.realpath(given), NAME)
    if os.geteuid() == 0:
        return pathlib.Path("/var/cache", NAME)
    home = os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir
    return pathlib.Path(home, ".cache", NAME)


def is_replaceable(path: str) -> bool:
    """Whether another user could replace a part of the path."""
    own = (0, os.geteuid(), os.stat("/").st_uid)
    real = pathlib.Path(os.path.realpath(path))
    for part in (real, *real.parents):
        st = part.lstat()
        if st.st_uid not in own or st.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            return True
    return False


def size_of(path: pathlib.Path) -> int:
    total, seen = 0, set()
    for folder, _, names in os.walk(path):
        for name in (".", *names):
            with contextlib.suppress(OSError):
                st = os.lstat(os.path.join(folder, name))
                if (st.st_dev, st.st_ino) not in seen:
                    seen.add((st.st_dev, st.st_ino))
                    total += st.st_blocks * 512
    return total


def mounts_of(pid: str) -> Iterator[Tuple[str, str, str]]:
    """The device, the path in its file system and the mount point of each mount."""
    with contextlib.suppress(OSError):
        for line in pathlib.Path("/proc", pid, "mountinfo").read_text(
                encoding="utf-8", errors="surrogateescape").splitlines():
            fields = line.split()
            yield fields[2], fields[3], fields[4]


def on_its_device(path: pathlib.Path) -> Tuple[str, str]:
    """The path of `path` within its file system, as mountinfo shows it for the roots of mounts."""
    best = ("", "", "")
    for device, root, point in mounts_of("self"):
        if f"{path}/".startswith(point.rstrip("/") + "/") and len(point) >= len(best[2]):
            best = (device, root, point)
    rest = str(path)[len(best[2].rstrip("/")):]
    return best[0], best[1].rstrip("/") + rest


def roots_in_use() -> Set[Tuple[str, str]]:
    """The root directories of the processes that we may look at, and the mounts in them."""
    found: Set[Tuple[str, str]] = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            found.add(("", os.readlink(f"/proc/{pid}/root")))
        found.update((device, root) for device, root, _ in mounts_of(pid))
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                found.add(("", os.readlink(f"/proc/{pid}/fd/{fd}")))
    return found


@contextlib.contextmanager
def lock(path: pathlib.Path) -> Iterator[Optional[int]]:
    """An exclusive lock of the directory or file; None if another process has a lock on it."""
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield fd
    except BlockingIOError:
        yield None
    finally:
        os.close(fd)


def is_in_use(path: pathlib.Path, roots: Set[Tuple[str, str]]) -> bool:
    device, inside = on_its_device(path)
    for place, root in roots:
        mine = str(path) if place == "" else inside if place == device else None
        if mine is not None and f"{root}/".startswith(mine + "/"):
            return True
    with lock(path) as locked:
        return locked is None


def entries(cache: pathlib.Path) -> List[Entry]:
    found: List[Entry] = []
    roots = roots_in_use()
    paths = [path for path in cache.iterdir() if path.name not in FOLDERS]
    for name in FOLDERS:
        if (cache / name).is_dir():
            paths += (cache / name).iterdir()
    for path in sorted(paths):
        with contextlib.suppress(FileNotFoundError):  # it has just been removed
            st = path.lstat()
            found.append(Entry(path, size_of(path), st.st_ctime, is_in_use(path, roots)))
    return found


def human(size: int) -> str:
    return f"{size / (1 << 20):8.1f} MiB"


def show(cache: pathlib.Path) -> None:
    total = 0
    for entry in entries(cache):
        total += entry.size
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        state = "in use" if entry.in_use else ""
        print(f"{human(entry.size)}  {made}  {state:6}  {entry.path.relative_to(cache)}")
    print(f"{human(total)}  in {cache}")


def remove(path: pathlib.Path) -> None:
    """First it loses its name, so that a container that starts in the meantime makes another
    one."""
    gone = path.with_name(path.name + ".partial")  # the next start removes this if we are killed
    if path.suffix != ".partial":
        path.rename(gone)
    if not gone.is_dir() or gone.is_symlink():
        gone.unlink()
        return
    for folder, _, _ in os.walk(gone):  # a layer may have read-only directories
        os.chmod(folder, 0o700)
    shutil.rmtree(gone)


def prune(cache: pathlib.Path, older_than: float) -> None:
    freed = 0
    for entry in entries(cache):
        if entry.in_use or entry.used > time.time() - older_than * 86400:
            continue
        # The lock that builders take, and then the entry's own: see is_in_use().
        with lock(entry.path.parent) as building:
            if building is None:
                print(f"left in place: something is being built in {entry.path.parent}",
                      file=sys.stderr)
                continue
            with lock(entry.path) as locked:
                if locked is not None:
                    remove(entry.path)
                    freed += entry.size
    print(f"{human(freed)}  removed from {cache}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="cache", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("show", help="list what is there, how large it is, and what is in use")
    pruning = commands.add_parser("prune", help="remove what no container uses")
    pruning.add_argument("--older-than", type=float, default=0, metavar="DAYS",
                         help="leave what was made in the last DAYS days")
    words = parser.parse_args()
    cache = cache_directory()
    if not cache.is_dir():
        print(f"there is nothing in {cache}")
    elif words.command == "show":
        show(cache)
    else:
        prune(cache, words.older_than)


if __name__ == "__main__":
    main()
