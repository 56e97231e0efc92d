"""The disk and the kernel of the virtual machine: made once from Debian's packages, then kept.

Debian chooses the kernel: it is the one on which the suite's linux-image-cloud-ARCHITECTURE
depends.
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from typing import Callable, List, Sequence

from harness.agent_client import PlaceError

FOLDER = pathlib.Path(__file__).resolve().parent
FURNISH = FOLDER / "furnish"
INIT = FOLDER / "init"  # the machine's PID 1

# A kernel's version -> the Debian release that has it. The newest has no number.
SUITES = {"6.1": "bookworm", "6.12": "trixie", "newest": "sid"}
DEFAULT_KERNEL = "6.1"

# What uname(1) calls an architecture -> what Debian does.
ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
NATIVE = ARCHITECTURES.get(os.uname().machine, "amd64")

# For another architecture, an emulator runs the programs that the packages' scripts call. Since
# Linux 6.7 a user namespace can have a table of emulators of its own, so this machine's stays as it
# is; older kernels need a line in the machine's, which Debian's package adds. See
# Documentation/admin-guide/binfmt-misc.rst.
ADD_EMULATOR = ("mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc &&"
                " cat /usr/lib/binfmt.d/qemu-{machine}.conf >/proc/sys/fs/binfmt_misc/register"
                " || true")

# The programs that the layers and their tests call, and sshd, through which we start them.
PACKAGES = ("apparmor", "bubblewrap", "busybox-static", "crun", "iproute2", "iputils-ping", "jq",
            "kmod", "nftables", "openssh-server", "passt", "procps", "python3-pexpect",
            "python3-pytest", "slirp4netns", "strace", "uidmap")
# For a machine whose kernel uses SELinux. To compile the policy takes longer than all the rest, and
# in the machine some minutes, so stage 09's module is in it from the start, and the policy
# without it in another file. Callers keep the label of init: sshd asks for their label in contexts,
# and Debian 13's policy has no rule that a shell may be started with it.
OF_SELINUX = ("policycoreutils", "selinux-policy-default", "selinux-utils")
# For what drives stage 11. netavark and the plugins of CNI make networks by iptables.
OF_ENGINES = ("aardvark-dns", "catatonit", "conmon", "containerd", "containernetworking-plugins",
              "fuse-overlayfs", "iptables", "netavark", "podman", "python3-grpcio",
              "python3-protobuf", "runc")
MODULE = FOLDER.parents[1] / "stages/09_lsm/containers.cil"
INSTALL_MODULE = ('cp "$1"/etc/selinux/default/policy/policy.*'
                  ' "$1/etc/selinux/without_containers" &&'
                  ' printf %s "$MODULE" >"$1/tmp/containers.cil" &&'
                  ' echo "(allow kernel_t shell_exec_t (file (entrypoint)))"'
                  ' >"$1/tmp/callers.cil" &&'
                  ' chroot "$1" semodule --noreload --install /tmp/containers.cil'
                  ' --install /tmp/callers.cil &&'
                  ' rm "$1"/tmp/*.cil && cd "$1/etc/selinux/default" &&'
                  ' printf "root:system_u:s0\\n__default__:system_u:s0\\n" >seusers &&'
                  ' echo system_r:kernel_t:s0 system_r:kernel_t:s0 >contexts/users/system_u')

KEPT_UNUSED = 14 * 86400  # seconds


class VmError(PlaceError):
    """The machine is not available."""


@dataclasses.dataclass(frozen=True)
class Image:
    """The files that a machine starts from."""

    folder: pathlib.Path

    @property
    def disk(self) -> pathlib.Path:
        return self.folder / "root.ext4"

    @property
    def kernel(self) -> pathlib.Path:
        return self.folder / "vmlinuz"

    @property
    def initramfs(self) -> pathlib.Path:
        return self.folder / "initramfs"


def cache_directory() -> pathlib.Path:
    """As in common/build_once, but without $HOME, because tests have one of their own."""
    if os.geteuid() == 0:
        return pathlib.Path("/var/cache/containers-under-the-hood")
    try:
        home = pathlib.Path(pwd.getpwuid(os.geteuid()).pw_dir)
    except KeyError as error:
        raise VmError(f"the user {os.geteuid()} has no home to keep the VM's disk in") from error
    base = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
    return base / "containers-under-the-hood"


def mmdebstrap(suite: str, selinux: bool = False, engines: bool = False,
               architecture: str = NATIVE) -> List[str]:
    """The command, without the mirror. The root directory that it makes is not kept."""
    packages = PACKAGES + (OF_SELINUX if selinux else ()) + (OF_ENGINES if engines else ())
    return ["mmdebstrap", "--variant=minbase", "--format=null",
            *(for_another(architecture) if architecture != NATIVE else []),
            f"--include={','.join(packages)}", '--aptopt=Apt::Install-Recommends "false"',
            *[f"--dpkgopt=path-exclude=/usr/share/{what}/*" for what in ("doc", "man", "locale")],
            *([f"--customize-hook={INSTALL_MODULE}"] if selinux else []),
            '--customize-hook=bash -c "$FURNISH" furnish "$1"', suite, "/dev/null"]


def for_another(architecture: str) -> List[str]:
    """The options for it. mmdebstrap makes a user namespace also if root calls it."""
    machine = next(name for name, debians in ARCHITECTURES.items() if debians == architecture)
    return [f"--architectures={architecture}", "--mode=unshare", "--skip=check/qemu",
            f"--setup-hook={ADD_EMULATOR.format(machine=machine)}"]


def output(*words: str) -> str:
    try:
        return subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                              check=False).stdout
    except FileNotFoundError:  # no apt here
        return ""


def mirror() -> str:
    """The Debian mirror that this machine's apt uses; elsewhere, as on Ubuntu, Debian's own."""
    sites = output("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
                   "Origin: Debian").split()
    plain = [site for site in sites if "security" not in site]
    return plain[0] if plain else "http://deb.debian.org/debian"


def apt_options() -> List[str]:
    """The settings with which this machine's apt reaches its mirror: proxies, certificates, checks
    of dates."""
    wanted = re.compile(r"Acquire::(https?::.*|Check-\S+ )", re.IGNORECASE)
    return [f"--aptopt={line}" for line in output("apt-config", "dump").splitlines()
            if wanted.match(line) and not line.endswith('"";')]


def make_once(path: pathlib.Path, make: Callable[[pathlib.Path], None]) -> None:
    """Makes it, completely or not at all, if it does not exist: it gets its name by one rename(2).
    If two processes start at the same time, the second waits for the first, see flock(2)."""
    if path.exists():
        return
    partial = path.with_name(f".{path.name}.partial")
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if not path.exists():
                remove(partial)  # left by a process that was killed
                make(partial)
                partial.rename(path)
        finally:
            remove(partial)
    finally:
        os.close(descriptor)


def remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def image_for(kernel: str = DEFAULT_KERNEL, selinux: bool = False, engines: bool = False,
              architecture: str = NATIVE) -> Image:
    """The image with this kernel: an existing one, or one made now, which needs the network."""
    if kernel not in SUITES:
        raise VmError(f"there is no kernel {kernel} for the VM: choose {', '.join(SUITES)}")
    suite = SUITES[kernel]
    words = mmdebstrap(suite, selinux, engines, architecture)
    inputs = "\n".join(words) + FURNISH.read_text() + INIT.read_text()
    if selinux:
        inputs += MODULE.read_text()
    if architecture != NATIVE:
        suite += "-" + architecture
    name = f"{suite}-{hashlib.sha256(inputs.encode()).hexdigest()[:12]}"
    folder = cache_directory() / "vm"
    try:
        cache_directory().mkdir(mode=0o700, parents=True, exist_ok=True)  # as the stages make it
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise VmError(f"there is no place for the VM's disk: {error}") from error
    image = Image(folder / name)
    make_once(image.folder, lambda partial: build(words, image.folder, Image(partial)))
    os.utime(image.folder)  # it is in use
    return image


def build(words: Sequence[str], name: pathlib.Path, image: Image) -> None:
    """Makes the image with that name, and removes old ones."""
    print(f"harness/vm: making a disk with Debian's {words[-2]} and its kernel in {name}:"
          " about a minute", file=sys.stderr, flush=True)
    start = time.monotonic()
    image.folder.mkdir()
    fill(words, image)
    remove_unused(name.parent)
    print(f"harness/vm: made in {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def fill(command: Sequence[str], image: Image) -> None:
    words = [command[0], *apt_options(), *command[1:]]
    # Two files, not more: with a third one mmdebstrap's own numbers become too large for its shell.
    with open(image.disk, "wb") as disk, tempfile.NamedTemporaryFile() as boot:
        for file in (disk, boot):
            os.chmod(file.name, 0o666)  # for the user that mmdebstrap becomes in its user namespace
        try:
            done = subprocess.run(
                words + [mirror()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
                pass_fds=(disk.fileno(), boot.fileno()),
                env={"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                     "LC_ALL": "C.UTF-8", "HOME": "/nonexistent",
                     "FURNISH": FURNISH.read_text(), "DISK": f"/dev/fd/{disk.fileno()}",
                     "BOOT": f"/dev/fd/{boot.fileno()}", "INIT": INIT.read_text(),
                     "MODULE": MODULE.read_text()})
        except FileNotFoundError as error:
            raise VmError("the VM's disk cannot be made: mmdebstrap is not installed\n"
                          "hint: run ./setup.sh") from error
        if done.returncode != 0:
            last_lines = "\n".join(done.stdout.splitlines()[-20:])
            raise VmError(f"the VM's disk cannot be made: mmdebstrap failed\n{last_lines}\n"
                          f"hint: {hint(done.stdout)}")
        with tarfile.open(boot.name) as tar:
            tar.extractall(image.folder)
    for path in (image.disk, image.kernel, image.initramfs):
        path.chmod(0o644)


def hint(said: str) -> str:
    if re.search(r"resolve|connect|unreachable|Failed to fetch", said, re.IGNORECASE):
        return f"it needs the network once: is {mirror()} reachable?"
    if os.geteuid() != 0 and re.search(r"newuidmap|subuid|unshare|user namespace", said):
        return ("as an ordinary user it needs user namespaces and a line of yours in /etc/subuid"
                " and /etc/subgid; root needs neither")
    return "run ./setup.sh, which installs what it needs"


def remove_unused(folder: pathlib.Path) -> None:
    """Removes old disks, because they are large."""
    for old in folder.glob("*-*/"):
        if time.time() - old.stat().st_mtime > KEPT_UNUSED:
            shutil.rmtree(old)
