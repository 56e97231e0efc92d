"""What a new root costs as a copy (stage 03) or as layers (stage 08a), depending on its size.

    sudo bazel run //harness/benchmarks:overlay -- --json slides/measured/overlay.json

It needs root, like stage 03. It goes on in a mount namespace in which the stages' cache is empty;
your cache does not change.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from typing import Dict, List

from harness.benchmarks.record import record

CACHE = "/var/cache/containers-under-the-hood"
FILE = 256 << 10  # bytes: a large program
SIZES = (10, 100, 1000)  # MB


def milliseconds(*words: str) -> float:
    before = time.perf_counter()
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL)
    return (time.perf_counter() - before) * 1e3


def make_files(folder: pathlib.Path, megabytes: int) -> None:
    folder.mkdir()
    for number in range(megabytes * 1000_000 // FILE):
        (folder / f"file-{number}").write_bytes(os.urandom(FILE))


def measure(programs: Dict[str, str], scratch: pathlib.Path, megabytes: int) -> List[str]:
    files = scratch / f"{megabytes}mb"
    make_files(files, megabytes)
    layer = scratch / f"{megabytes}mb.tar"
    subprocess.run(["tar", "-cf", layer, "-C", scratch, files.name], check=True)
    copies = []
    for _ in range(3):  # a root that is there already is used again
        shutil.rmtree(CACHE)
        os.mkdir(CACHE)
        copies.append(milliseconds(programs["03_userspace"], "--with", str(files), "/bin/true"))
    start = (programs["08a_overlayfs"], "--layer", str(layer), "/bin/true")
    first = milliseconds(*start)
    later = [milliseconds(*start) for _ in range(15)]
    shutil.rmtree(files)
    layer.unlink()
    return [f"{megabytes} MB", f"{statistics.median(copies):.0f}", f"{first:.0f}",
            f"{statistics.median(later):.1f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--json", help="write it to this file, for the slides")
    arguments = parser.parse_args()
    if "IN_OWN_NAMESPACE" not in os.environ:
        os.environ["IN_OWN_NAMESPACE"] = "yes"
        os.execvp("unshare", ["unshare", "--mount", *sys.orig_argv])
    programs = {os.path.basename(path): os.path.realpath(path)
                for path in os.environ["PROGRAMS"].split()}
    with tempfile.TemporaryDirectory() as name:
        scratch = pathlib.Path(name)
        (scratch / "cache").mkdir()
        os.makedirs(CACHE, exist_ok=True)
        subprocess.run(["mount", "--bind", scratch / "cache", os.path.dirname(CACHE)], check=True)
        os.mkdir(CACHE)
        rows = [measure(programs, scratch, megabytes) for megabytes in SIZES]
        subprocess.run(["umount", os.path.dirname(CACHE)], check=True)
    record(arguments.json, "Start in a new root, in ms",
           ["in the root", "copied each time (03)", "as a layer, first (08a)", "then"], rows)


if __name__ == "__main__":
    main()
