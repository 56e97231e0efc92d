"""Everything that a copy must keep of a tree, as data: two trees are equal if describe() returns
the same."""

import hashlib
import os
import pathlib
import stat
import subprocess
from typing import Any


def describe(top: pathlib.Path, *, owners: bool = True,
             special_bits: bool = True) -> dict[str, Any]:
    entries = {}
    first_of: dict[tuple[int, int], str] = {}
    paths = [top] + sorted(p for p in top.rglob("*"))
    for path in paths:
        st = path.lstat()
        name = str(path.relative_to(top))
        entry: dict[str, Any] = {
            "type": stat.S_IFMT(st.st_mode),
            "mode": stat.S_IMODE(st.st_mode) & (0o7777 if special_bits else 0o777),
            "mtime": st.st_mtime_ns,
        }
        if owners:
            entry["owner"] = (st.st_uid, st.st_gid)
        try:
            entry["xattrs"] = {key: os.getxattr(path, key, follow_symlinks=False)
                               for key in os.listxattr(path, follow_symlinks=False)}
        except OSError as error:
            entry["xattrs"] = error.errno
        if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
            entry["first name"] = first_of.setdefault((st.st_dev, st.st_ino), name)
        if stat.S_ISLNK(st.st_mode):
            entry["target"] = os.readlink(path)
        elif stat.S_ISREG(st.st_mode):
            entry["size"] = st.st_size
            entry["has holes"] = st.st_blocks * 512 < st.st_size - 65536
            entry["content"] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
            entry["device"] = st.st_rdev
        entries[name] = entry
    return entries


def atimes(top: pathlib.Path) -> list[bytes]:
    """By find(1), which reads neither files nor links: that would change them."""
    found = subprocess.run(["find", top, "!", "-type", "d", "-printf", "%P %A@\\0"],
                           capture_output=True, check=True).stdout
    return sorted(found.split(b"\0"))
