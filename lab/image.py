"""Makes the initramfs of the lab's machine: busybox, some of Debian's programs, and the stages.

  image.py OUT.cpio DEBIAN MACHINE PROGRAM...

DEBIAN is where `setup.sh --lab` has unpacked Debian's packages, MACHINE lab/machine. It needs no
root, and the same files make the same bytes.
"""

from __future__ import annotations

import pathlib
import re
import stat
import subprocess
import sys
import tempfile
from typing import Dict, Iterable, Iterator, List, Set, Tuple

from lab.exercises import COMMON, EXERCISES

STAGES = "opt/box"  # below it as Bazel has them: stages/NN_x/NN_x, rootfs/rootfs.tar
# Where busybox's are too different from what the pages show.
PROGRAMS = ("bin/bash", "bin/ip", "bin/setserial", "usr/bin/newgidmap", "usr/bin/newuidmap",
            "usr/bin/nsenter", "usr/bin/setpriv", "usr/bin/unshare", "usr/sbin/nft")
SCRIPTS = ("usr/bin/ldd",)
LOADER = "lib/ld-linux.so.2"
LIBRARIES = ("lib/i386-linux-gnu", "usr/lib/i386-linux-gnu")
# What the stages use, and what this machine's terminals and its disk are.
MODULES = ("crc32c_generic", "overlay", "veth", "bridge", "dummy", "nf_tables", "nft_chain_nat",
           "nft_masq", "nft_nat", "nft_ct", "nft_fib_ipv4", "nft_fib_ipv6", "nft_fib_inet",
           "nft_reject_inet", "ext4", "loop", "virtio_pci", "virtio_console")
NOT_HERE = {"crc32c-intel"}  # the emulated processor has no SSE 4.2
DISK_MIB = 64
BLOCK = 4096

FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/bash\nuser:x:1000:1000:user:/home/user:/bin/bash\n"
                  "nobody:x:65534:65534:nobody:/:/bin/false\n",
    "etc/group": "root:x:0:\ntty:x:5:\nuser:x:1000:\nnogroup:x:65534:\n",
    "etc/shadow": "root:*:19000:0:99999:7:::\nuser:*:19000:0:99999:7:::\n",
    "etc/profile": "export PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PS1='host:\\w\\$ '\n"
                   "umask 022\n",
    "etc/hosts": "127.0.0.1 localhost host\n::1 localhost\n",
    "etc/hostname": "host\n",
    # No server is there; but without one, each container at the bridge says that it has none.
    "etc/resolv.conf": "nameserver 192.0.2.53\n",
    "etc/os-release": 'PRETTY_NAME="The lab: Debian 12\'s kernel and programs"\nID=lab\n',
    "etc/subuid": "user:100000:65536\n",
    "etc/subgid": "user:100000:65536\n",
    "sbin/init": "#!/bin/busybox sh\nexec -a init /bin/busybox init\n",
}
FOLDERS = ("dev", "proc", "sys", "run", "tmp", "mnt", "root", "home", "var/tmp", "var/cache")
MODES = {"tmp": 0o1777, "var/tmp": 0o1777, "root": 0o700, "etc/shadow": 0o640, "sbin/init": 0o755,
         "usr/bin/newgidmap": 0o4755, "usr/bin/newuidmap": 0o4755}


def needed(path: pathlib.Path) -> List[str]:
    said = subprocess.run(["readelf", "--dynamic", str(path)], check=True, capture_output=True,
                          text=True).stdout
    return re.findall(r"\(NEEDED\).*\[(.+)\]", said)


class Image:
    """Path without a leading slash -> its mode, and its bytes or where it leads."""

    def __init__(self, debian: pathlib.Path) -> None:
        self.debian = debian
        self.entries: Dict[str, Tuple[int, bytes]] = {}

    def folder(self, path: str) -> None:
        if path not in ("", ".") and path not in self.entries:
            self.folder(str(pathlib.PurePosixPath(path).parent))
            self.entries[path] = (stat.S_IFDIR | MODES.get(path, 0o755), b"")

    def file(self, path: str, content: bytes, mode: int) -> None:
        self.folder(str(pathlib.PurePosixPath(path).parent))
        self.entries[path] = (stat.S_IFREG | MODES.get(path, mode), content)

    def link(self, path: str, target: str) -> None:
        self.folder(str(pathlib.PurePosixPath(path).parent))
        self.entries[path] = (stat.S_IFLNK | 0o777, target.encode())

    def add_library(self, name: str) -> None:
        for folder in LIBRARIES:
            file = self.debian / folder / name
            if file.exists():
                path = f"{folder}/{name}"
                if path not in self.entries:
                    self.file(path, file.read_bytes(), 0o755)
                    for other in needed(file):
                        self.add_library(other)
                return
        raise SystemExit(f"image.py: no library {name} in {self.debian}")

    def add_program(self, path: str) -> None:
        file = self.debian / path
        self.file(path, file.read_bytes(), 0o755)
        for name in needed(file):
            self.add_library(name)

    def cpio(self) -> Iterator[bytes]:
        """In the format "newc", see Documentation/driver-api/early-userspace/buffer-format.rst."""
        entries = [*sorted(self.entries.items()), ("TRAILER!!!", (0, b""))]
        for inode, (path, (mode, content)) in enumerate(entries, 1):
            name = path.encode() + b"\0"
            head = "070701" + "".join(f"{number:08x}" for number in (
                inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name), 0))
            for piece in (head.encode() + name, content):
                yield piece
                yield b"\0" * (-len(piece) % 4)


def with_dependencies(folder: pathlib.Path, names: Iterable[str]) -> List[pathlib.Path]:
    """Modules in the order in which they can be loaded. A module says which ones it needs."""
    found = {path.stem.replace("-", "_"): path for path in folder.rglob("*.ko")}
    order: List[pathlib.Path] = []
    seen: Set[str] = {name.replace("-", "_") for name in NOT_HERE}

    def visit(name: str) -> None:
        name = name.replace("-", "_")
        if name in seen or name not in found:  # built into the kernel
            return
        seen.add(name)
        content = found[name].read_bytes()
        for kind in (rb"depends", rb"softdep"):
            for text in re.findall(rb"\0" + kind + rb"=([^\0]*)\0", content):
                for other in re.split(r"[\s,]+", text.decode().replace("pre:", "")):
                    visit(other) if other and ":" not in other else None
        order.append(found[name])

    for name in names:
        visit(name)
    return order


def disk() -> Tuple[str, bytes]:
    """A shell script that makes an empty ext4, and its blocks that are not zero: `make FILE`."""
    with tempfile.TemporaryDirectory() as scratch:
        path = pathlib.Path(scratch) / "disk"
        subprocess.run(
            ["/sbin/mke2fs", "-q", "-F", "-t", "ext4", "-b", str(BLOCK), "-m", "0",
             "-O", "^has_journal",
             "-E", "lazy_itable_init=1,hash_seed=00000000-0000-4000-8000-000000000000",
             "-U", "00000000-0000-4000-8000-000000000001", str(path), f"{DISK_MIB}M"],
            env={"E2FSPROGS_FAKE_TIME": "1700000000"}, stdout=subprocess.DEVNULL, check=True)
        content = path.read_bytes()
    lines = ["#!/bin/sh", "cd /lib/disk", 'truncate -s "$((%d * 1024 * 1024))" "$1"' % DISK_MIB]
    blocks = b""
    for number in range(len(content) // BLOCK):
        block = content[number * BLOCK:(number + 1) * BLOCK]
        if any(block):
            lines.append(f'dd if=blocks of="$1" bs={BLOCK} skip={len(blocks) // BLOCK} '
                         f"seek={number} count=1 conv=notrunc 2>/dev/null")
            blocks += block
    return "\n".join(lines) + "\n", blocks


def main(out: str, debian: str, machine: str, *programs: str) -> None:
    image = Image(pathlib.Path(debian))
    for path in FOLDERS:
        image.folder(path)
    for path, text in FILES.items():
        image.file(path, text.encode(), 0o644)

    busybox = next(path for path in programs if path.endswith("/busybox"))
    image.file("bin/busybox", pathlib.Path(busybox).read_bytes(), 0o755)
    applets = subprocess.run([busybox, "--list-full"], check=True, capture_output=True,
                             text=True).stdout.split()
    for path in applets:
        if path not in ("bin/busybox", "linuxrc", "sbin/init"):
            image.link(path, "/bin/busybox")
    image.link(LOADER, "i386-linux-gnu/ld-linux.so.2")
    image.add_library("ld-linux.so.2")
    for path in PROGRAMS:
        image.add_program(path)
    for path in SCRIPTS:
        image.file(path, (image.debian / path).read_bytes(), 0o755)
    image.entries.pop("sbin/ip", None)

    for name in ("init", "start", "login", "agent", "inittab"):
        where = {"init": "init", "inittab": "etc/inittab"}.get(name, f"sbin/{name}")
        image.file(where, (pathlib.Path(machine) / name).read_bytes(), 0o755)
    for identity, exercise in EXERCISES.items():
        image.file(f"lib/checks/{identity}", (COMMON + exercise.check).encode(), 0o644)
    modules = with_dependencies(pathlib.Path(debian) / "lib/modules", MODULES)
    for path in modules:
        image.file(f"lib/modules/{path.name}", path.read_bytes(), 0o644)
    image.file("lib/modules/order", "".join(f"{path.name}\n" for path in modules).encode(), 0o644)
    script, blocks = disk()
    image.file("lib/disk/make", script.encode(), 0o755)
    image.file("lib/disk/blocks", blocks, 0o644)

    for program in programs:
        path = pathlib.Path(program)
        if path.name == "rootfs.tar":
            image.file(f"{STAGES}/rootfs/rootfs.tar", path.read_bytes(), 0o644)
        elif path.name != "busybox":
            where = f"{STAGES}/stages/{path.name}/{path.name}"
            image.file(where, path.read_bytes(), 0o755)
            image.link(f"usr/local/bin/{path.name}", f"/{where}")
    with open(out, "wb") as file:
        for piece in image.cpio():
            file.write(piece)


if __name__ == "__main__":
    main(*sys.argv[1:])
