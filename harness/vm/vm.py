"""A virtual machine with a stock Debian kernel, in which commands behave as if they ran locally.

  with Vm("6.12", ["bazel-bin/stages/05_userns/05_userns"]) as vm:
      subprocess.run(vm.command(["05_userns", "/bin/sh"], user=True, terminal=True))

QEMU runs untrusted code, so it runs without privileges and without a network card, and ends with
us. The only way in or out is one virtio-serial port, on which sshd listens: it provides exit
statuses, terminals, and as many sessions at a time as there are callers. Changes to the disk are
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
from typing import Any, Callable, Iterable, Iterator, List, Optional, Sequence, Tuple

from harness.vm import snapshot
from harness.vm.image import (DEFAULT_KERNEL, NATIVE, Image, VmError, cache_directory,
                              image_for)

FOLDER = pathlib.Path(__file__).resolve().parent
# The machine's side of it; and what is loaded by hand there, before stage 09 can use it.
OWN_FILES = (FOLDER / "call", FOLDER / "sshd_config",
             FOLDER.parents[1] / "stages/09_lsm/containers.apparmor",
             FOLDER.parents[1] / "stages/09_lsm/containers.cil")

PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
TOOLS = ("mke2fs", "prlimit", "setpriv", "ssh", "ssh-keygen", "unshare")

NOBODY = 65534
ADDRESS_SPACE = 16 << 30  # bytes: QEMU's own, far more than it should ever use
WRITTEN = 4 << 30  # bytes: the most that it may write to a file
PROGRAMS = "/box/programs"  # in the machine
MOST_SAID = 1 << 18  # bytes: the most that is read from the console
PROGRAMS_DISK = 4 << 30  # bytes, with holes; measured on a snapshot

QEMU = ("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
        "-m", "1024", "-smp", "2", "-serial", "stdio", "-device", "virtio-serial-pci",
        "-object", "rng-random,id=rng,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=rng")
READY, UP = "box: ready", "box: user space is up"  # the message of `init`
PREFIX = "box-vm-"  # of the folders in /tmp
INVITES = "invites"  # a file in the directory of a machine that others may join
NOT_YET_LOCKED = 10.0  # seconds
QUICK = 15.0  # seconds for a command that takes a fifth of one; five if the host is busy
KERNEL_WORDS = "quiet panic=-1 rdinit=/init mitigations=off"
# In place of AppArmor, which is the default of Debian.
SELINUX_WORDS = " security=selinux selinux=1 enforcing=1"
# The devices of a container, labelled as udev would.
LABEL_DEVICES = " && ".join(
    f"chcon -t {kind}_t {' '.join('/dev/' + name for name in names)}" for kind, names in {
        "null_device": ["null"], "zero_device": ["zero", "full"], "random_device": ["random"],
        "urandom_device": ["urandom"], "devtty": ["tty"]}.items())


@dataclasses.dataclass(frozen=True)
class Hardware:
    """The machine that QEMU makes of one architecture."""

    qemu: Tuple[str, ...]
    console: str
    emulated_cpu: str


@dataclasses.dataclass(frozen=True)
class Accelerator:
    """How QEMU runs the machine's code."""

    words: Tuple[str, ...]
    up_within: float  # seconds; after that, starting has failed
    patience: float  # how much longer things take than here


# Debian's name of the architecture -> what QEMU emulates.
HARDWARE = {
    # "max" without cx16, with which some starts of 6.12 crash. Also without features that cost more
    # under emulation than they gain, so that a fork takes a fifth less time: bytes moved one by
    # one, page tables of five levels, checks that keep the kernel out of a user's memory.
    "amd64": Hardware(("qemu-system-x86_64",), "ttyS0",
                      "max,-cx16,-erms,-fsrm,-la57,-pku,-smap,-smep"),
    "arm64": Hardware(("qemu-system-aarch64", "-machine", "virt"), "ttyAMA0", "cortex-a72"),
}
ELF_MACHINES = {62: "amd64", 183: "arm64"}
KVM = Accelerator(("-accel", "kvm", "-cpu", "host"), 10.0, 2.0)
# Emulation is 5 to 20 times slower, but tests spend much of their time waiting.
EMULATION = Accelerator(("-accel", "tcg,thread=multi"), 60.0, 4.0)
EMULATED_ATTEMPTS = 3


class Vm:
    """A machine that runs from boot() to close(). Its commands run as root or as uid 1000."""

    is_root = own_hosts = True
    at_once = 4
    ordinary = (1000, 1000)
    patience = EMULATION.patience
    tests_all = True
    hinders = False

    def __init__(self, kernel: str = DEFAULT_KERNEL, programs: Iterable[str] = (),
                 restores: bool = True, strangers: Iterable[str] = (),
                 selinux: bool = False, engines: bool = False, architecture: str = "") -> None:
        """The programs of this machine are in PATH there, each in a directory of its own, see
        path(): our own beside the stages' built-in root, untrusted ones beside a copy of it, if
        there are any of ours. The security module
        is AppArmor, or with `selinux` SELinux, whose policy is loaded and enforced. With `engines`
        it has those that drive stage 11. The architecture is that of our own programs, unless one
        is given.

        Without `restores` it always boots, instead of copying a machine that has booted.
        """
        self.kernel = kernel
        self.programs = list(programs)
        self.strangers = list(strangers)
        self.selinux = selinux
        self.engines = engines
        self.architecture = architecture or architecture_of(self.programs)
        self.hardware = HARDWARE[self.architecture]
        self.name = ":".join(["vm", kernel,
                              *([self.architecture] if self.architecture != NATIVE else []),
                              *(["selinux"] if selinux else []),
                              *(["engines"] if engines else [])])
        self.kernel_words = (f"console={self.hardware.console} {KERNEL_WORDS}"
                             + (SELINUX_WORDS if selinux else ""))
        self.restores = restores
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
        """Starts it, unless it runs already. QEMU ends with the thread that calls this."""
        if self.qemu is not None and self.qemu.poll() is None:
            return
        check_tools(self.hardware.qemu[0])
        image = image_for(self.kernel, self.selinux, self.engines, self.architecture)
        remove_left_folders()
        attempts = [(EMULATION, False)] * EMULATED_ATTEMPTS
        if self.restores:
            attempts.insert(0, (EMULATION, True))
        if self.architecture == NATIVE and kvm_may_work():
            attempts.insert(0, (KVM, False))
        for accelerator, restore in attempts:
            self.close()
            if self.stopped:
                raise VmError("the VM was stopped")
            try:
                self.start(image, accelerator, restore)
                return
            except VmError as error:
                failure = error
                if accelerator is KVM:
                    remember_that_kvm_fails()
                if restore and not self.stopped:
                    snapshot.forget(image)
            except BaseException:
                self.close()
                raise
        self.close()
        raise failure

    def start(self, image: Image, accelerator: Accelerator, restore: bool) -> None:
        """Starts QEMU, and waits until sshd replies on the port."""
        self.patience = accelerator.patience
        if restore:
            # The options that are the same for all machines, whatever their directory.
            words = self.qemu_words(image, accelerator, pathlib.Path("FOLDER"))
            saved = snapshot.snapshot_for(image, words,
                                          lambda path: self.make_snapshot(image, path))
        theirs = self.make_folder()
        self.start_qemu(image, accelerator, theirs, snapshot.incoming(theirs) if restore else ())
        self.start_ssh()
        self.wait_for((lambda: snapshot.load(theirs, saved)) if restore else self.is_ready,
                      accelerator.up_within)
        self.let_go(accelerator.up_within)
        self.wait_for(lambda: os.path.exists(self.socket), accelerator.up_within)
        if restore:
            self.check_that_it_is_quick()
        if self.selinux:
            self.run("sh", "-c", LABEL_DEVICES, stdin=subprocess.DEVNULL)

    def check_that_it_is_quick(self) -> None:
        """Once, a copy was busy with nothing on both processors, and a command took a minute."""
        try:
            self.run("true", stdin=subprocess.DEVNULL, timeout=QUICK)
        except subprocess.TimeoutExpired as error:
            raise VmError(f"the VM took more than {QUICK:g} s to run true(1)") from error

    def is_ready(self) -> bool:
        return READY in self.said("console")

    def make_snapshot(self, image: Image, path: pathlib.Path) -> None:
        """Starts a machine of its own for it."""
        maker = Vm(self.kernel, selinux=self.selinux, engines=self.engines,
                   architecture=self.architecture)
        try:
            theirs = maker.make_folder()
            maker.start_qemu(image, EMULATION, theirs, snapshot.options(theirs))
            maker.wait_for(maker.is_ready, EMULATION.up_within)
            snapshot.save(theirs, path)
        finally:
            maker.close()

    def let_go(self, seconds: float) -> None:
        """Gives the machine, which waits, the time and a seed for its random numbers."""
        def is_up() -> bool:
            assert self.qemu is not None and self.qemu.stdin is not None
            # Repeatedly, because bytes that arrive while QEMU loads a snapshot are lost.
            with contextlib.suppress(BrokenPipeError):
                self.qemu.stdin.write(f"go {time.time():.0f} {os.urandom(16).hex()}\n".encode())
            return UP in self.said("console")

        self.wait_for(is_up, seconds, 0.1)

    def make_folder(self) -> pathlib.Path:
        """Makes the files that the machine needs. Returns the directory in it that belongs to
        QEMU."""
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=PREFIX, dir="/tmp"))
        self.folder.chmod(0o711)
        self.lock = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        theirs = self.folder / "qemu"  # the directory that QEMU may change
        theirs.mkdir(mode=0o700)
        run_tool("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "vm", "-f",
                 str(self.folder / "key"))
        self.make_programs_disk(theirs / "programs")
        for end in ("port.in", "port.out"):
            os.mkfifo(theirs / end, 0o600)
        if os.geteuid() == 0:
            for path in [theirs, *theirs.iterdir()]:
                os.chown(path, NOBODY, NOBODY)
        return theirs

    def make_programs_disk(self, disk: pathlib.Path) -> None:
        with tempfile.TemporaryDirectory(dir=self.folder) as name:
            folder = pathlib.Path(name)
            folder.chmod(0o755)
            for own in OWN_FILES:
                shutil.copy(own, folder / own.name)
            shutil.copy(self.folder / "key.pub", folder / "key.pub")
            (folder / "bin").mkdir()
            for program in [*self.programs, *self.strangers]:
                link = folder / "bin" / os.path.basename(program)
                if not link.is_symlink():
                    link.symlink_to(self.path(program))
            files = {file: file for program in self.programs for file in with_roots(program)}
            roots = [file for file in files if file.endswith("/rootfs.tar")]
            for program in map(os.path.realpath, self.strangers):
                if roots:  # in place of the one that was handed in, which may be a link
                    files[str(root_of(program))] = roots[0]
                files[program] = program
            for name_there, file in files.items():
                place = folder / f"programs{name_there}"
                place.parent.mkdir(parents=True, exist_ok=True)
                copy_file(file, place)
            with open(disk, "wb") as file:
                file.truncate(PROGRAMS_DISK)
            run_tool("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-m", "0",
                     "-E", "root_owner=0:0", "-d", name, str(disk))

    def qemu_words(self, image: Image, accelerator: Accelerator,
                   theirs: pathlib.Path) -> List[str]:
        cpu = ["-cpu", self.hardware.emulated_cpu] if accelerator is EMULATION else []
        return [*self.hardware.qemu, *QEMU, *accelerator.words, *cpu, "-kernel", str(image.kernel),
                "-initrd", str(image.initramfs), "-append", self.kernel_words,
                *drive("root", image.disk, "snapshot=on,cache=unsafe"),
                *drive("programs", theirs / "programs", "readonly=on"),
                "-chardev", f"pipe,id=port,path={theirs}/port",
                "-device", "virtserialport,chardev=port,name=box"]

    def start_qemu(self, image: Image, accelerator: Accelerator, theirs: pathlib.Path,
                   more: Sequence[str] = ()) -> None:
        words = [*confinement(), *self.qemu_words(image, accelerator, theirs), *more]
        # The cache is private, and QEMU runs as another user, so it gets open files.
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(open(path, "rb"))
                     for path in (image.kernel, image.initramfs, image.disk)]
            for file in files:
                words = [word.replace(file.name, f"/proc/self/fd/{file.fileno()}")
                         for word in words]
            self.qemu = self.start_process("console", words, subprocess.PIPE,
                                           tuple(file.fileno() for file in files),
                                           TMPDIR=str(theirs))

    def start_ssh(self) -> None:
        """Connects once; every command then is a session of this connection."""
        port = shlex.quote(f"{self.folder}/qemu/port")
        self.ssh = self.start_process("ssh", [
            "ssh", "-M", "-N", "-F", "/dev/null", "-S", self.socket, "-i", f"{self.folder}/key",
            "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=no",
            "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR",
            "-o", "Ciphers=aes128-ctr",
            # Under emulation, QEMU notices about one packet in a thousand only with the next one.
            "-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1000",
            "-o", f"ProxyCommand=cat <{port}.out & exec cat >{port}.in", "root@vm"],
            subprocess.DEVNULL)

    def start_process(self, log: str, words: Sequence[str], stdin: int,
                      files: Sequence[int] = (), **environment: str) -> subprocess.Popen:
        assert self.folder is not None
        with open(self.folder / log, "wb") as file:
            # In a session of its own, because Ctrl-C is meant for us, and we end them.
            return subprocess.Popen(words, bufsize=0, stdin=stdin, stdout=file, stderr=file,
                                    cwd="/", env={"PATH": PATH, **environment},
                                    start_new_session=True, pass_fds=files)

    def wait_for(self, condition: Callable[[], bool], seconds: float, every: float = 0.02) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if any(process.poll() is not None for process in self.processes()):
                raise VmError(f"the VM ended while it started:\n{self.tell()}")
            if time.monotonic() > end:
                raise VmError(f"the VM did not start within {seconds:g} s:\n{self.tell()}")
            time.sleep(every)

    def said(self, log: str) -> str:
        """The end of the file, because programs in the machine can write as much as they like."""
        assert self.folder is not None
        path = self.folder / log
        if not path.exists():
            return ""
        with open(path, "rb") as file:
            file.seek(max(0, path.stat().st_size - MOST_SAID))
            return file.read().decode(errors="replace")

    def tell(self) -> str:
        """The last lines of what the machine and ssh wrote."""
        lines = [line for log in ("console", "ssh") for line in self.said(log).splitlines()[-60:]]
        return "\n".join(lines)

    def stop(self) -> None:
        """Ends the machine for good, even while another thread uses it or starts it."""
        self.stopped = True
        self.close()

    def processes(self) -> List[subprocess.Popen]:
        return [process for process in (self.ssh, self.qemu) if process is not None]

    def close(self) -> None:
        """Ends the machine, whatever state it is in."""
        with self.closing:  # closing twice could close a third thread's
            for process in self.processes():
                process.kill()
                process.wait()
                if process.stdin is not None:
                    process.stdin.close()
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
        """The path in the virtual machine of a program of this machine."""
        return PROGRAMS + os.path.realpath(program)

    def invite(self) -> None:
        """Lets joined() find the machine."""
        (self.folder / INVITES).touch()  # type: ignore[operator]

    def command(self, words: Sequence[str], user: bool = False,
                terminal: bool = False) -> List[str]:
        """The command to run here, so that `words` run there: with this one's standard input and
        outputs, exit status, and terminal. If a signal ends it, the status is 128 + its number."""
        there = ["/box/call", "user" if user else "root", *words]
        return ["ssh", "-S", self.socket, "-F", "/dev/null", "-o", "LogLevel=ERROR", "-e", "none",
                "-t" if terminal else "-T", "root@vm", shlex.join(there)]

    def run(self, *words: str, user: bool = False, **options: Any) -> subprocess.CompletedProcess:
        return subprocess.run(self.command(words, user), check=False, **options)


@contextlib.contextmanager
def joined() -> Iterator[Vm]:
    """The machine that this user started last, among those that can be joined and still run."""
    mine = [path.parent for path in pathlib.Path("/tmp").glob(f"{PREFIX}*/{INVITES}")
            if path.parent.stat().st_uid == os.geteuid() and is_in_use(path.parent)]
    if not mine:
        raise VmError("no virtual machine of yours runs that you could join\n"
                      "hint: start one in another terminal: bazel run //harness/vm")
    vm = Vm()
    vm.folder = max(mine, key=lambda folder: (folder / INVITES).stat().st_mtime_ns)
    yield vm  # the process that started it ends it


def is_in_use(folder: pathlib.Path) -> bool:
    """Whether the process that made it still runs and therefore has its lock, see flock(2)."""
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(lock)


def check_tools(qemu: str) -> None:
    for tool in (*TOOLS, qemu):
        if shutil.which(tool, path=PATH) is None:
            option = " --cross" if tool != HARDWARE[NATIVE].qemu[0] and tool == qemu else ""
            raise VmError(f"the VM cannot be started: {tool} is not installed\nhint: run"
                          f" ./setup.sh{option}")


def run_tool(*words: str) -> None:
    """A small program of this machine, which has no reason to fail."""
    done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, env={"PATH": PATH}, check=False)
    if done.returncode != 0:
        raise VmError(f"the VM cannot be started: {words[0]} failed: {done.stdout.strip()}")


def remove_left_folders() -> None:
    """Removes what a killed process of ours left: its lock is free, see flock(2)."""
    for folder in pathlib.Path("/tmp").glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # another user's, or in use, or removed in the meantime
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
    """A file that exists if KVM has failed since this machine was started."""
    boot = pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return cache_directory() / "vm" / f"no-kvm-{boot}"


def kvm_may_work() -> bool:
    """Whether QEMU, as the user that it will run as, may use /dev/kvm, and has not failed with
    it."""
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


def architecture_of(programs: Sequence[str]) -> str:
    """The architecture of the first of them that is an ELF file, see elf(5)."""
    for program in programs:
        with open(program, "rb") as file:
            header = file.read(20)
        machine = int.from_bytes(header[18:20], "little")
        if header[:4] == b"\x7fELF" and machine in ELF_MACHINES:
            return ELF_MACHINES[machine]
    return NATIVE


def root_of(program: str) -> pathlib.Path:
    """A stage looks for its built-in root in the directory where Bazel has built the stage, without
    links."""
    path = pathlib.Path(os.path.realpath(program))
    return path.parent.parent.parent / "rootfs" / "rootfs.tar"


def with_roots(program: str) -> List[str]:
    root = root_of(program)
    is_there = root.is_file() and os.path.realpath(root) == str(root)
    return [os.path.realpath(program)] + ([str(root)] if is_there else [])


def copy_file(file: str, place: pathlib.Path) -> None:
    """Does not follow a link that has replaced the file in the meantime; and removes set-user-ID
    bits, so that nothing in the machine gives its caller root."""
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as source:
        with open(place, "wb") as made:
            shutil.copyfileobj(source, made)
        place.chmod(os.fstat(source.fileno()).st_mode & 0o777)


def drive(name: str, path: pathlib.Path, options: str) -> List[str]:
    return ["-drive", f"if=none,id={name},format=raw,file={path},{options}",
            "-device", f"virtio-blk-pci,drive={name}"]


def group_of_kvm() -> List[str]:
    """For setpriv(1): no groups except the one that may use /dev/kvm."""
    group = os.stat("/dev/kvm").st_gid if os.path.exists("/dev/kvm") else 0
    return ["--groups", str(group)] if group != 0 else ["--clear-groups"]


def confinement() -> List[str]:
    """The command that starts QEMU: QEMU ends with us, and gains no privileges."""
    words = ["prlimit", f"--as={ADDRESS_SPACE}", f"--fsize={WRITTEN}", "--core=0",
             "--nofile=1024", "--",
             "setpriv", "--no-new-privs", "--pdeathsig", "KILL"]
    if os.geteuid() == 0:
        words[:0] = ["unshare", "--net", "--ipc", "--uts"]
        words += ["--reuid", str(NOBODY), "--regid", str(NOBODY), *group_of_kvm(),
                  "--inh-caps=-all", "--bounding-set=-all"]
    return words + ["--"]
