"""Walks, copies, compares and removes untrusted directories, whatever is in them."""

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
MOST_DEEP = 64  # the depth of directories


class Unwieldy(Exception):
    """A directory exceeds a limit: which one, in one line."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file, directory, link or anything else; for a link, the link itself."""

    name: str  # relative to the directory
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
    """Everything below `folder`, each directory before its content. No link is followed."""
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
                    raise Unwieldy(f"its directories are more than {MOST_DEEP} deep")
                waiting.append(entry)


def check_size(folder: pathlib.Path, largest: int) -> None:
    """Raises TooLarge unless it contains only what can be copied, at most `largest` bytes."""
    size = 0
    for entry in entries(folder):
        size += entry.status.st_size
        if size > largest:
            raise Unwieldy(f"it is larger than {largest >> 20} MiB")
        if not (entry.is_link or entry.is_folder or entry.is_file):
            raise Unwieldy(f"{entry.name} is neither a file, a directory nor a link")


def copy(folder: pathlib.Path, target: pathlib.Path) -> None:
    """Links stay links, so that none copies a file of this machine."""
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
    """Copies mode and times, which make(1) reads. The copy belongs to us, so it must not be a
    set-user-ID program."""
    place.chmod(entry.status.st_mode & 0o777)
    os.utime(place, ns=(entry.status.st_atime_ns, entry.status.st_mtime_ns))


def opened(path: pathlib.Path):
    """Opens a file to read it; a link or a FIFO that has replaced it in the meantime is not
    opened."""
    return open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb")


def digest(path: pathlib.Path, largest: int) -> str:
    """Changes whenever the directory's content does. If that is larger than `largest` bytes, files
    are not read; their times of change are used instead."""
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
        tell(str(error))  # so it is not a submission that could be graded
    return told.hexdigest()


@contextlib.contextmanager
def scratch_folder(prefix: str) -> Iterator[pathlib.Path]:
    """An empty directory that is removed at the end, with everything in it."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix=prefix, dir="/tmp"))
    try:
        yield folder
    finally:
        remove(folder)


def remove(folder: pathlib.Path) -> None:
    """rm(1) and chmod(1) walk by descriptors, so no directory is too deep for them."""
    for words in (["chmod", "-R", "u+rwX"], ["rm", "-rf"]):
        subprocess.run([*words, "--", str(folder)], stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
