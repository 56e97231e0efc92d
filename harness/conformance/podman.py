"""podman's own system tests, with stage 11 and with crun as its runtime.

    ./setup.sh --validation
    sudo bazel run //harness/conformance:podman -- [--rootless] [FILE.bats...]

They are those of the source of Debian's podman package. The image that they want is made here, of
busybox, under its name, so that no network is needed. The first table counts; the second one has
each test that has failed with one of the runtimes, and its first complaint.
"""

from __future__ import annotations

import argparse
import io
import os
import pathlib
import re
import subprocess
import sys
import tarfile
from typing import Any, Dict, List, Tuple

from harness import oci_layout as oci
from harness.conformance import places

FILES = ("030-run.bats", "075-exec.bats", "080-pause.bats", "130-kill.bats", "420-cgroups.bats")
REGISTRY = "quay.io/libpod/testimage"
TIME_LIMIT = 3600
PRINTENV = b"#!/bin/sh\n/bin/busybox tr '\\0' '\\n' </proc/$$/environ\n"
RESULT = re.compile(r"^(ok|not ok) \d+ (.*?)(?: # (skip\b.*))?$")
# Set by the tests, before the first line of what went wrong.
COMPLAINT = re.compile(r"^# (?:#\|\s+FAIL: (.*)|#\|\s+actual: +(.*)|\[ rc=(\d+ .*) \])")


def tests() -> pathlib.Path:
    for source in ("libpod", "podman"):
        folder = places.workspace() / "foreign/podman/src" / source / "test"
        if folder.is_dir():
            return folder
    raise SystemExit("podman's tests are not here: ./setup.sh --validation")


def write_image(path: pathlib.Path, helpers: str) -> None:
    """The image, as build-testimage beside the tests makes it of alpine."""
    tag = re.search(r'PODMAN_TEST_IMAGE_TAG:-"(\d+)"', helpers)
    assert tag is not None
    rootfs = pathlib.Path("rootfs/rootfs.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(rootfs)) as tar:
        there = {os.path.basename(name) for name in tar.getnames()}
    applets = subprocess.run(["busybox", "--list"], check=True, stdout=subprocess.PIPE,
                             text=True).stdout.split()
    pause = b"#!/bin/sh\necho Confirmed: testimage pause invoked as $0\nwhile :; do sleep 0.1; done"
    layer = oci.tar(
        *(oci.link(f"usr/bin/{name}", "/bin/busybox") for name in applets if name not in there),
        oci.entry("bin/printenv", PRINTENV, mode=0o755),  # Debian's busybox has none
        oci.link("etc/mtab", "/proc/mounts"), oci.folder("home"), oci.folder("home/podman"),
        oci.entry("home/podman/testimage-id", tag[1].encode() + b"\n", mtime=1600000000),
        oci.entry("home/podman/pause", pause, mode=0o755))
    files = oci.layout([rootfs, layer], {
        "Cmd": ["/bin/echo", "This container is intended for podman CI testing"],
        "WorkingDir": "/home/podman", "Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
        "Labels": {"created_by": "test/system/build-testimage",
                   "created_at": "2022-06-15T00:00:00Z"}}, tags=[f"{REGISTRY}:{tag[1]}"])
    path.write_bytes(oci.tar(*(oci.entry(*file) for file in files.items())))


def results_in(text: str) -> Dict[str, str]:
    """Test -> "ok", "skip", or its first complaint."""
    found: Dict[str, str] = {}
    failed = ""
    for line in text.splitlines():
        result = RESULT.match(line)
        if result:
            verdict, name, skipped = result.groups()
            failed = name if verdict == "not ok" else ""
            found[name] = "skip" if skipped else verdict
        elif failed and found[failed] == "not ok":
            complaint = COMPLAINT.match(line)
            if complaint:
                found[failed] = next(filter(None, complaint.groups()))
    return found


def run(world: Any, runtime: str, program: str, files: List[str], rootless: bool) -> Dict[str, str]:
    folder = tests()
    configuration = world.folder / f"{runtime}.conf"
    configuration.write_text(
        places.engine_world().containers_conf(runtime, program, world.has_controllers()))
    world.variables = {"CONTAINERS_CONF": str(configuration), "PODMAN": "podman",
                       "BATS_TMPDIR": "/var/tmp", "TMPDIR": "/var/tmp"}
    image = world.folder / "testimage.tar"
    write_image(image, (folder / "system/helpers.bash").read_text())
    done = world.run("podman", "load", "--input", image, user=rootless)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    results = {}
    for file in files:
        done = world.run("sh", "-c", 'cd "$0" && exec bats --tap "$1"', folder, f"system/{file}",
                         user=rootless, timeout=TIME_LIMIT, stderr=subprocess.STDOUT)
        if "TEST_LOGS" in os.environ:
            pathlib.Path(os.environ["TEST_LOGS"], f"{runtime}.{file}").write_text(done.stdout)
        for test, result in results_in(done.stdout).items():
            results[f"{file.split('-')[0]} {test}"] = result
            print(runtime, file, test, result, sep="\t", file=sys.stderr, flush=True)
    return results


def tables(found: Dict[str, Dict[str, str]]) -> str:
    names = list(found)
    counts = [[word, *(str(sum(result == word for result in found[name].values()))
                       for name in names)] for word in ("ok", "skip")]
    counts.append(["failed", *(str(sum(result not in ("ok", "skip")
                                       for result in found[name].values())) for name in names)])
    every: Tuple[str, ...] = tuple(dict.fromkeys(test for name in names for test in found[name]))
    rows = [[test, *(re.sub(r"[|`\t]", " ", found[name].get(test, "not run"))[:100]
                     for name in names)]
            for test in every if any(found[name].get(test) not in ("ok", "skip") for name in names)]
    return "\n\n".join([places.table(["tests", *names], counts),
                        places.table(["failed with one of them", *names], rows)])


def main() -> int:
    parser = argparse.ArgumentParser(prog="bazel run //harness/conformance:podman --",
                                     description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rootless", action="store_true")
    parser.add_argument("files", nargs="*", default=list(FILES), metavar="FILE.bats")
    arguments = parser.parse_args()
    found = {}
    for name, words in places.runtimes().items():
        if name != "runc":
            with places.world() as world:
                program = world.folder / name
                program.write_bytes(pathlib.Path(words[0]).read_bytes())
                program.chmod(0o755)  # where every user may execute it
                found[name] = run(world, name, str(program), arguments.files, arguments.rootless)
    print(tables(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
