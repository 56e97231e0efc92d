"""Folders that somebody else has filled: walked, copied, compared, removed, whatever is in them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import itertools
import os
import pathlib
import shutil
import stat
import subprocess
import tempfile
from typing import Iterator

MOST_ENTRIES = 200_000
MOST_DEEP = 64  # folders in each other


class Unwieldy(Exception):
    """What a folder is too large for, in one line."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file, folder, link or whatever else; of a link the link itself."""

    name: str  # from the folder on
    path: pathlib.Path
    status: os.stat_result

    @property
    def is_folder(self) -> bool:
        return stat.S_ISDIR(self.status.st_mode)

    @property
    def is_link(self) -> bool:
        return stat.S_ISLNK(self.status.st_mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.status.st_mode)


def entries(folder: pathlib.Path) -> Iterator[Entry]:
    """All that is below `folder`, each folder before what is in it. No link is followed."""
    waiting = [""]
    count = 0
    while waiting:
        inside = waiting.pop()
        with os.scandir(folder / inside) as found:
            names = sorted(entry.name for entry in itertools.islice(found, MOST_ENTRIES + 1))
        count += len(names)
        if count > MOST_ENTRIES:
            raise Unwieldy(f"it has more than {MOST_ENTRIES} files")
        for name in names:
            entry = os.path.join(inside, name)
            path = folder / entry
            yield (one := Entry(entry, path, path.lstat()))
            if one.is_folder:
                if entry.count("/") + 1 >= MOST_DEEP:
                    raise Unwieldy(f"its folders lie more than {MOST_DEEP} deep in each other")
                waiting.append(entry)


def check_size(folder: pathlib.Path, largest: int) -> None:
    """Whether it has only what can be copied, and no more than `largest` bytes of it."""
    size = 0
    for entry in entries(folder):
        size += entry.status.st_size
        if size > largest:
            raise Unwieldy(f"it is larger than {largest >> 20} MiB")
        if not (entry.is_link or entry.is_folder or entry.is_file):
            raise Unwieldy(f"{entry.name} is neither a file, a folder nor a link")


def copy(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Links stay links, so that none brings a file of this machine along."""
    target.mkdir()
    folders = []
    for entry in entries(folder):
        place = target / entry.name
        if entry.is_folder:
            place.mkdir()
            folders.append(entry)
        elif entry.is_link:
            os.symlink(os.readlink(entry.path), place)
        elif entry.is_file:
            with opened(entry.path) as source, open(place, "wb") as made:
                shutil.copyfileobj(source, made)
            take_over(entry, place)
    for entry in reversed(folders):
        take_over(entry, target / entry.name)


def take_over(entry: Entry, place: pathlib.Path) -> None:
    """Mode and times, which make(1) reads. The copy is ours: it must be no set-user-ID program."""
    place.chmod(entry.status.st_mode & 0o777)
    os.utime(place, ns=(entry.status.st_atime_ns, entry.status.st_mtime_ns))


def opened(path: pathlib.Path):
    """A file to read: a link or a FIFO that has taken its place meanwhile is not opened."""
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def digest(path: pathlib.Path, largest: int) -> str:
    """Changes when what is there does. Of what is larger than `largest` bytes, the contents are not
    read, but the times of changes are looked at."""
    told = hashlib.sha256()

    def tell(text: str) -> None:
        told.update(text.encode(errors="surrogateescape") + b"\0")

    size = 0
    try:
        status = path.stat()
        for entry in (entries(path) if path.is_dir() else [Entry(path.name, path, status)]):
            size += entry.status.st_size
            tell(f"{entry.name}\0{stat.S_IFMT(entry.status.st_mode)}"
                 f" {entry.status.st_mode & stat.S_IXUSR}")
            if entry.is_link:
                tell(os.readlink(entry.path))
            elif entry.is_file and size > largest:
                tell(f"{entry.status.st_size} {entry.status.st_mtime_ns}")
            elif entry.is_file:
                with opened(entry.path) as file:
                    while part := file.read(1 << 20):
                        told.update(part)
    except (Unwieldy, OSError) as error:
        tell(str(error))  # so it is no submission that could be graded
    return told.hexdigest()


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[pathlib.Path]:
    """An empty folder that is removed in the end, with all that has come into it."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: pathlib.Path) -> None:
    """rm(1) and chmod(1) walk by descriptors: no folder is too deep for them."""
    for words in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
        subprocess.run([*words, "--", str(folder)], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
