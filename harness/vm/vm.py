"""A virtual machine with a stock Debian kernel, in which commands run as if they were here.

  with Vm("6.12", ["bazel-bin/stages/05_userns/05_userns"]) as vm:
      subprocess.run(vm.command(["05_userns", "/bin/sh"], user=True, terminal=True))

QEMU holds untrusted code: it runs without privileges and without a network card, and ends with us.
The only way in or out is one virtio-serial port, on which sshd answers: it brings exit statuses,
terminals, and as many sessions at a time as there are callers. All that is written to the disk is
thrown away at the end.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
from typing import Any, Callable, Iterable, List, Optional, Sequence, Tuple

from harness.vm.image import DEFAULT_KERNEL, Image, VmError, cache_directory, image_for

FOLDER = pathlib.Path(__file__).resolve().parent
OWN_FILES = ("init", "call", "sshd_config")  # the machine's side of it

PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
TOOLS = ("mke2fs", "prlimit", "qemu-system-x86_64", "setpriv", "ssh", "ssh-keygen", "unshare")

NOBODY = 65534
ADDRESS_SPACE = 16 << 30  # bytes: QEMU's own, far more than it should ever use
WRITTEN = 4 << 30  # bytes: what it may write to a file
PROGRAMS = "/box/programs"  # in the machine

QEMU = ("qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-m", "1024", "-smp", "2", "-serial", "stdio", "-device", "virtio-serial-pci",
        "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng")
UP = "box: user space is up"  # what `init` says first
PREFIX = "box-vm-"  # of the folders in /tmp
NOT_YET_LOCKED = 10.0  # seconds
KERNEL_WORDS = ("console=ttyS0 quiet panic=-1 root=/dev/nvme0n1 rw init=/sbin/vm-init"
                " mitigations=off")


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """How QEMU runs the machine's code."""

    words: Tuple[str, ...]
    up_within: float  # seconds: else it will never be
    patience: float  # how much longer things take than here


KVM = Accelerator(("-accel", "kvm", "-cpu", "host"), 10.0, 2.0)
# "max" without cx16: with it some starts of 6.12 crash. Emulation is 5 to 20 times slower; but much
# of what a test takes is waiting.
EMULATION = Accelerator(("-accel", "tcg,thread=multi", "-cpu", "max,-cx16"), 60.0, 4.0)
EMULATED_ATTEMPTS = 3


class Vm:
    """A machine that runs from boot() to close(). Its commands run as root or as uid 1000."""

    is_root = own_hosts = True
    at_once = 4
    ordinary = (1000, 1000)
    patience = EMULATION.patience
    tests_all = True
    hinders = False

    def __init__(self, kernel: str = DEFAULT_KERNEL, programs: Iterable[str] = ()) -> None:
        """The programs of this machine are in PATH there, and, see path(), by themselves."""
        self.name = f"vm:{kernel}"
        self.kernel = kernel
        self.programs = list(programs)
        self.kernel_words = KERNEL_WORDS
        self.folder: Optional[pathlib.Path] = None
        self.lock = -1
        self.qemu: Optional[subprocess.Popen] = None
        self.ssh: Optional[subprocess.Popen] = None
        self.closing = threading.Lock()
        self.stopped = False

    def __enter__(self) -> Vm:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- Starting -----------------------------------------------------------------------------

    def boot(self) -> None:
        """Starts it, if it does not run. QEMU ends with the thread that does this."""
        if self.qemu is not None and self.qemu.poll() is None:
            return
        check_tools()
        image = image_for(self.kernel)
        remove_left_folders()
        attempts = [EMULATION] * EMULATED_ATTEMPTS
        if kvm_may_work():
            attempts.insert(0, KVM)
        for accelerator in attempts:
            self.close()
            if self.stopped:
                raise VmError("the VM was stopped")
            try:
                self.start(image, accelerator)
                return
            except VmError as error:
                failure = error
                if accelerator is KVM:
                    remember_that_kvm_fails()
            except BaseException:
                self.close()
                raise
        self.close()
        raise failure

    def start(self, image: Image, accelerator: Accelerator) -> None:
        """Starts QEMU, and waits until somebody answers on the port."""
        self.patience = accelerator.patience
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
        self.folder.chmod(0o711)
        self.lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        theirs = self.folder / "qemu"  # what QEMU may touch
        theirs.mkdir(mode=0o700)
        run_tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vm", "-f",
                 str(self.folder / "key"))
        self.make_programs_disk(theirs / "programs")
        for end in ("port.in", "port.out"):
            os.mkfifo(theirs / end, 0o600)
        if os.geteuid() == 0:
            for path in [theirs, *theirs.iterdir()]:
                os.chown(path, NOBODY, NOBODY)
        self.start_qemu(image, accelerator, theirs)
        self.start_ssh()
        self.wait_for(lambda: UP in self.said("console"), accelerator.up_within)
        self.wait_for(lambda: os.path.exists(self.socket), accelerator.up_within)

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
            for file in {file for program in self.programs for file in with_roots(program)}:
                place = folder / self.path(file)[len("/box/"):]
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(file, place)
            size = sum(path.lstat().st_size for path in folder.rglob("*"))
            with open(disk, "wb") as file:
                file.truncate((8 << 20) + size * 5 // 4)
            run_tool("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0",
                     "-E", "root_owner=0:0", "-d", name, str(disk))

    def start_qemu(self, image: Image, accelerator: Accelerator, theirs: pathlib.Path) -> None:
        words = [*confinement(), *QEMU, *accelerator.words, "-kernel", str(image.kernel),
                 "-append", self.kernel_words,
                 *drive("root", image.disk, "snapshot=on,cache=unsafe", "nvme,serial=root"),
                 *drive("programs", theirs / "programs", "readonly=on", "virtio-blk-pci"),
                 "-chardev", f"pipe,id=port,path={theirs}/port",
                 "-device", "virtserialport,chardev=port,name=box"]
        self.qemu = self.start_process("console", words, TMPDIR=str(theirs))

    def start_ssh(self) -> None:
        """Connects once; every command then is a session of this connection."""
        port = shlex.quote(f"{self.folder}/qemu/port")
        self.ssh = self.start_process("ssh", [
            "ssh", "-M", "-N", "-F", "/dev/null", "-S", self.socket, "-i", f"{self.folder}/key",
            "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "Ciphers=aes128-ctr",
            # Under emulation, about one packet in a thousand is noticed only with the next one.
            "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1000",
            "-o", f"ProxyCommand=cat <{port}.out & exec cat >{port}.in", "root@vm"])

    def start_process(self, log: str, words: Sequence[str], **environment: str) -> subprocess.Popen:
        assert self.folder is not None
        with open(self.folder / log, "wb") as file:
            # In a session of its own: a Ctrl-C is for us, and we end them.
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
                                    cwd="/", env={"PATH": PATH, **environment},
                                    start_new_session=True)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.qemu is not None and self.ssh is not None
            if self.qemu.poll() is not None or self.ssh.poll() is not None:
                raise VmError(f"the VM has ended while it started:\n{self.tell()}")
            if time.monotonic() > end:
                raise VmError(f"the VM did not start within {seconds:g} s:\n{self.tell()}")
            time.sleep(0.02)

    def said(self, log: str) -> str:
        assert self.folder is not None
        path = self.folder / log
        return path.read_text(errors="replace") if path.exists() else ""

    def tell(self) -> str:
        """The last lines of what the machine and ssh wrote."""
        lines = [line for log in ("console", "ssh") for line in self.said(log).splitlines()[-60:]]
        return "\n".join(lines)

    def stop(self) -> None:
        """Ends the machine for good, while another thread may use it, or start it."""
        self.stopped = True
        self.close()

    def close(self) -> None:
        """Ends the machine, however it is."""
        with self.closing:  # what two threads close may be a third one's by then
            processes = [process for process in (self.ssh, self.qemu) if process is not None]
            for process in processes:
                process.kill()
                process.wait()
            self.ssh = self.qemu = None
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)
                os.close(self.lock)
                self.folder = None

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


def check_tools() -> None:
    for tool in TOOLS:
        if shutil.which(tool, path=PATH) is None:
            raise VmError(f"the VM cannot be started: there is no {tool}\nhint: run ./setup.sh")


def run_tool(*words: str) -> None:
    """A small program of this machine, which has no reason to fail."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env={"PATH": PATH}, check=False)
    if done.returncode != 0:
        raise VmError(f"the VM cannot be started: {words[0]} failed: {done.stdout.strip()}")


def remove_left_folders() -> None:
    """What a killed process of ours left: it no longer holds the lock, see flock(2)."""
    for folder in pathlib.Path("/tmp").glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another's, or in use, or gone meanwhile
            status = folder.lstat()
            is_new = time.time() - status.st_mtime < NOT_YET_LOCKED
            if status.st_uid != os.geteuid() or is_new:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
            finally:
                os.close(lock)


def kvm_failed_here() -> pathlib.Path:
    """A file that is there if KVM has failed since this machine was started."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return cache_directory() / "vm" / f"no-kvm-{boot}"


def kvm_may_work() -> bool:
    """Whether QEMU, as who it will be, may use /dev/kvm, and has not failed with it."""
    try:
        device = os.stat("/dev/kvm")
    except OSError:
        return False
    if os.geteuid() != 0:
        allowed = os.access("/dev/kvm", os.R_OK | os.W_OK)
    else:
        allowed = device.st_mode & 0o060 == 0o060 or device.st_mode & 0o006 == 0o006
    return allowed and not kvm_failed_here().exists()


def remember_that_kvm_fails() -> None:
    for old in kvm_failed_here().parent.glob("no-kvm-*"):
        old.unlink()
    kvm_failed_here().touch()


def with_roots(program: str) -> List[str]:
    """A stage looks for its built-in root next to where Bazel has put it."""
    path = pathlib.Path(os.path.realpath(program))
    root = path.parent.parent.parent / "rootfs" / "rootfs.tar"
    return [str(path)] + ([str(root)] if root.exists() else [])


def drive(name: str, path: pathlib.Path, options: str, device: str) -> List[str]:
    return ["-drive", f"if=none,id={name},format=raw,file={path},{options}",
            "-device", f"{device},drive={name}"]


def group_of_kvm() -> List[str]:
    """For setpriv(1): no groups but the one for whom /dev/kvm is."""
    group = os.stat("/dev/kvm").st_gid if os.path.exists("/dev/kvm") else 0
    return ["--groups", str(group)] if group != 0 else ["--clear-groups"]


def confinement() -> List[str]:
    """What QEMU is started through: it ends with us, and gains nothing on the way."""
    words = ["prlimit", f"--as={ADDRESS_SPACE}", f"--fsize={WRITTEN}", "--core=0",
             "--nofile=1024", "--",
             "setpriv", "--no-new-privs", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        words[:0] = ["unshare", "--net", "--ipc", "--uts"]
        words += ["--reuid", str(NOBODY), "--regid", str(NOBODY), *group_of_kvm(),
                  "--inh-caps=-all", "--bounding-set=-all"]
    return words + ["--"]
