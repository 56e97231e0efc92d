"""A machine that has started and waits: its memory and devices, as QEMU writes them for a
migration.

Under emulation a machine takes 4 s to start, but its copy takes one second. One snapshot is made
for each image and QEMU, and kept beside the image. `init` describes at which point of its start a
machine is copied, and what each copy gets of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
from typing import Any, Callable, List, Sequence

from harness.vm.image import Image, VmError, make_once

SECONDS = 60.0  # the time in which QEMU must write or read it


def snapshot_for(image: Image, qemu: Sequence[str],
                 make: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """The snapshot of this image with this QEMU: an existing one, or one made now."""
    version = subprocess.run([qemu[0], "--version"], stdout=subprocess.PIPE, check=True).stdout
    key = hashlib.sha256(version + "\n".join(qemu).encode()).hexdigest()[:12]
    path = image.folder / f"snapshot-{key}"

    def make_anew(partial: pathlib.Path) -> None:
        forget(image)
        make(partial)

    try:
        make_once(path, make_anew)
    except OSError as error:
        raise VmError(f"the VM's snapshot cannot be written: {error}") from error
    return path


def forget(image: Image) -> None:
    """Removes snapshots that another QEMU has made, or that this one cannot use."""
    for old in image.folder.glob("snapshot-*"):
        old.unlink(missing_ok=True)


def options(folder: pathlib.Path) -> List[str]:
    """The QEMU options that save() needs."""
    return ["-qmp", f"unix:{folder}/monitor,server=on,wait=off"]


def save(folder: pathlib.Path, path: pathlib.Path) -> None:
    """Writes the running machine to `path`. See QEMU's docs/interop/qmp-spec.txt."""
    with connect(folder / "monitor") as monitor, \
            socket.socket(socket.AF_UNIX) as listening:
        answers = monitor.makefile()

        def ask(command: str, **arguments: Any) -> Any:
            monitor.sendall(json.dumps({"execute": command, "arguments": arguments}).encode())
            for line in answers:
                answer = json.loads(line)
                if "error" in answer:
                    raise VmError(f"QEMU refused {command}: {answer['error']['desc']}")
                if "return" in answer:
                    return answer["return"]
            raise VmError(f"QEMU has ended at {command}")

        listening.bind(f"{folder}/migration")
        os.chmod(f"{folder}/migration", 0o666)
        listening.listen(1)
        listening.settimeout(SECONDS)
        ask("qmp_capabilities")
        ask("migrate-set-parameters", **{"max-bandwidth": 10 << 30})
        ask("migrate", uri=f"unix:{folder}/migration")
        stream, _ = listening.accept()
        with stream, stream.makefile("rb") as read, open(path, "wb") as written:
            stream.settimeout(SECONDS)
            shutil.copyfileobj(read, written, 1 << 20)
        status = ask("query-migrate").get("status")
        if status != "completed":
            raise VmError(f"QEMU could not write the snapshot: {status}")


def incoming(folder: pathlib.Path) -> List[str]:
    """The QEMU options that make it wait for load() instead of starting a machine."""
    return ["-incoming", f"unix:{folder}/migration"]


def load(folder: pathlib.Path, path: pathlib.Path) -> bool:
    """Makes QEMU go on with the machine in `path`. Returns False if QEMU does not listen yet."""
    with open(path, "rb") as file, contextlib.suppress(OSError), \
            connect(folder / "migration") as stream:
        stream.sendfile(file)
        return True
    return False


def connect(path: pathlib.Path) -> socket.socket:
    connected = socket.socket(socket.AF_UNIX)
    connected.settimeout(SECONDS)
    connected.connect(str(path))
    return connected
