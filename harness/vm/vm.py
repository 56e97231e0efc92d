"""A virtual machine with a stock Debian kernel, in which commands run as if they were here.

  with Vm("6.12", ["bazel-bin/stages/05_userns/05_userns"]) as vm:
      subprocess.run(vm.command(["05_userns", "/bin/sh"], user=True, terminal=True))

QEMU holds untrusted code: it runs without privileges and without a network card, and ends with us.
The only way in or out is one virtio-serial port, on which sshd answers: it brings exit statuses,
terminals, and as many sessions at a time as there are callers. All that is written to the disk is
thrown away at the end.
"""

from __future__ import annotations

import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile
import time
from typing import Any, Iterable, List, Optional, Sequence

from harness.vm.image import DEFAULT_KERNEL, Image, VmError, image_for

FOLDER = pathlib.Path(__file__).resolve().parent
OWN_FILES = ("init", "call", "sshd_config")  # the machine's side of it

NOBODY = 65534
ADDRESS_SPACE = 16 << 30  # bytes: QEMU's own, far more than it should ever use
ATTEMPTS = 3
PROGRAMS = "/box/programs"  # in the machine

QEMU = ("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-m", "1024", "-smp", "2", "-device", "isa-debug-exit,iobase=0xf4,iosize=4",
        "-serial", "stdio", "-object", "rng-random,id=rng,filename=/dev/urandom",
        "-device", "virtio-rng-pci,rng=rng", "-device", "virtio-serial-pci")
# "max" without cx16: with it some starts of 6.12 crash under emulation.
EMULATED = ("-accel", "tcg,thread=multi", "-cpu", "max,-cx16")
KERNEL_WORDS = ("console=ttyS0 quiet panic=-1 root=/dev/nvme0n1 rw init=/sbin/vm-init"
                " mitigations=off")


class Vm:
    """A machine that runs from boot() to close(). Its commands run as root or as uid 1000."""

    is_root = True
    ordinary = (1000, 1000)
    patience = 4.0  # emulated, it is 5 to 20 times slower; but much of a start is waiting
    tests_all = True

    def __init__(self, kernel: str = DEFAULT_KERNEL, programs: Iterable[str] = (),
                 start_limit: float = 90.0) -> None:
        """The programs of this machine are in PATH there, and, see path(), by themselves."""
        self.name = f"vm:{kernel}"
        self.kernel = kernel
        self.programs = list(programs)
        self.start_limit = start_limit
        self.folder = pathlib.Path()
        self.qemu: Optional[subprocess.Popen] = None
        self.ssh: Optional[subprocess.Popen] = None

    def __enter__(self) -> Vm:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- Starting -----------------------------------------------------------------------------

    def boot(self) -> None:
        """Starts it, if it does not run. QEMU ends with the thread that does this."""
        if self.qemu is not None:
            return
        image = image_for(self.kernel)
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self.start(image)
                return
            except VmError:
                self.close()
                if attempt == ATTEMPTS:
                    raise
            except BaseException:
                self.close()
                raise

    def start(self, image: Image) -> None:
        """Starts QEMU, and waits until somebody answers on the port."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vm-", dir="/tmp"))
        self.folder.chmod(0o711)
        theirs = self.folder / "qemu"  # what QEMU may touch
        theirs.mkdir(mode=0o700)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vm", "-f",
                        str(self.folder / "key")], check=True, stdin=subprocess.DEVNULL)
        self.make_programs_disk(theirs / "programs")
        for end in ("port.in", "port.out"):
            os.mkfifo(theirs / end, 0o600)
        if os.geteuid() == 0:
            for path in [theirs, *theirs.iterdir()]:
                os.chown(path, NOBODY, NOBODY)
        self.start_qemu(image, theirs)
        self.call()

    def make_programs_disk(self, disk: pathlib.Path) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = pathlib.Path(name)
            folder.chmod(0o755)
            for own in OWN_FILES:
                shutil.copy(FOLDER / own, folder / own)
            shutil.copy(self.folder / "key.pub", folder / "key.pub")
            (folder / "bin").mkdir()
            for program in self.programs:
                link = folder / "bin" / os.path.basename(program)
                if not link.is_symlink():
                    link.symlink_to(self.path(program))
                for file in with_what_it_needs(program):
                    place = folder / self.path(file)[len("/box/"):]
                    place.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(file, place)
            size = sum(path.lstat().st_size for path in folder.rglob("*"))
            with open(disk, "wb") as file:
                file.truncate((8 << 20) + size * 5 // 4)
            subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0",
                            "-E", "root_owner=0:0", "-d", name, str(disk)],
                           check=True, stdin=subprocess.DEVNULL)

    def start_qemu(self, image: Image, theirs: pathlib.Path) -> None:
        words = [*confinement(), *QEMU, *EMULATED, "-kernel", str(image.kernel),
                 "-append", KERNEL_WORDS,
                 *drive("root", image.disk, "snapshot=on,cache=unsafe", "nvme,serial=root"),
                 *drive("programs", theirs / "programs", "readonly=on", "virtio-blk-pci"),
                 "-chardev", f"pipe,id=port,path={theirs}/port",
                 "-device", "virtserialport,chardev=port,name=box"]
        with open(self.folder / "console", "wb") as console:
            try:
                self.qemu = subprocess.Popen(
                    words, stdin=subprocess.DEVNULL, stdout=console, stderr=console, cwd="/",
                    env={"PATH": os.environ["PATH"], "TMPDIR": str(theirs)})
            except FileNotFoundError as error:
                raise VmError(f"the VM cannot be started: there is no {error.filename}\n"
                              "hint: run ./setup.sh") from error

    def call(self) -> None:
        """Connects, and waits for it."""
        assert self.qemu is not None
        port = shlex.quote(f"{self.folder}/qemu/port")
        with open(self.folder / "ssh", "wb") as said:
            self.ssh = subprocess.Popen(
                ["ssh", "-M", "-N", "-F", "/dev/null", "-S", self.socket, "-i",
                 str(self.folder / "key"), "-o", "IdentitiesOnly=yes",
                 "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
                 "-o", "LogLevel=ERROR", "-o", "Ciphers=aes128-ctr",
                 "-o", f"ProxyCommand=cat <{port}.out & exec cat >{port}.in", "root@vm"],
                stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
        end = time.monotonic() + self.start_limit
        while not os.path.exists(self.socket):
            if self.qemu.poll() is not None:
                raise VmError(f"QEMU has ended while the VM started:\n{self.tell()}")
            if self.ssh.poll() is not None or time.monotonic() > end:
                raise VmError(f"the VM does not answer:\n{self.tell()}")
            time.sleep(0.02)

    def tell(self) -> str:
        """The last lines of what the machine and ssh wrote."""
        texts = [(self.folder / name).read_text(errors="replace") for name in ("console", "ssh")]
        return "\n".join(line for text in texts for line in text.splitlines()[-60:])

    def close(self) -> None:
        """Ends the machine, however it is."""
        for process in (self.ssh, self.qemu):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (self.ssh, self.qemu):
            if process is not None:
                try:
                    process.wait(timeout=2)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.ssh = self.qemu = None
        if self.folder != pathlib.Path():
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- Using it -----------------------------------------------------------------------------

    @property
    def socket(self) -> str:
        return f"{self.folder}/socket"

    @staticmethod
    def path(program: str) -> str:
        """Where in the machine a program of this machine is."""
        return PROGRAMS + os.path.realpath(program)

    def command(self, words: Sequence[str], user: bool = False,
                terminal: bool = False) -> List[str]:
        """The command to run here, so that `words` run there: with this one's standard input and
        outputs, exit status, and terminal. What a signal ends has status 128 + its number."""
        there = ["/box/call", "user" if user else "root", *words]
        return ["ssh", "-S", self.socket, "-F", "/dev/null", "-o", "LogLevel=ERROR", "-e", "none",
                "-t" if terminal else "-T", "root@vm", shlex.join(there)]

    def run(self, *words: str, user: bool = False, **options: Any) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(words, user), check=False, **options)


def with_what_it_needs(program: str) -> List[str]:
    """A stage looks for its built-in root next to where Bazel has put it."""
    path = pathlib.Path(os.path.realpath(program))
    root = path.parent.parent.parent / "rootfs" / "rootfs.tar"
    return [str(path)] + ([str(root)] if root.exists() else [])


def drive(name: str, path: pathlib.Path, options: str, device: str) -> List[str]:
    return ["-drive", f"if=none,id={name},format=raw,file={path},{options}",
            "-device", f"{device},drive={name}"]


def confinement() -> List[str]:
    """What QEMU is started through: it ends with us, and gains nothing on the way."""
    words = ["prlimit", f"--as={ADDRESS_SPACE}", "--core=0", "--nofile=1024", "--",
             "setpriv", "--no-new-privs", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        words[:0] = ["unshare", "--net", "--ipc", "--uts"]
        words += ["--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups",
                  "--inh-caps=-all", "--bounding-set=-all"]
    return words + ["--"]
