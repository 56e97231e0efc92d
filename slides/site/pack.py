"""Packs a folder: the same bytes for the same files, whenever and wherever it is done."""

from __future__ import annotations

import pathlib
import sys
import zipfile

NAME = "containers-under-the-hood"  # the folder that unzipping makes
EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip can name


def pack(folder: pathlib.Path, out: pathlib.Path) -> None:
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{NAME}/{path.relative_to(folder)}", EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            packed.writestr(entry, path.read_bytes())


if __name__ == "__main__":
    pack(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]))
