"""Shows which stages this machine can run, by doing what each needs, and undoing it.

  bazel run //harness:doctor
  python3 -m harness.learning.doctor --json

Version numbers do not decide anything: each operation is really done, by unshare(1) or by the
system call itself, in a process whose end undoes it. The reason for a failure is looked up
afterwards.
"""

from __future__ import annotations

import argparse
import ctypes
import dataclasses
import fcntl
import json
import os
import pathlib
import pwd
import shutil
import subprocess
import sys
import tempfile
from typing import Callable, List, Optional, Sequence, Tuple

from harness.properties.verdict import STAGES

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TIME_LIMIT = 20.0
VM = "bazel run //harness/vm"

NEED_ROOT = ("02", "03", "04")


def since(first: str) -> Tuple[str, ...]:
    """The stages from this one on, each of which has its layer."""
    return STAGES[STAGES.index(first):]


FROM_05, FROM_06 = since("05"), since("06")

# A user namespace and a mount namespace in it: what an ordinary user may do only there.
OWN_MOUNTS = ("--user", "--map-root-user", "--mount")


# Made by the kernel for others to mount on: its proc_create_mount_point().
ALWAYS_EMPTY = ("/proc/fs/nfsd", "/proc/openprom", "/proc/sys/fs/binfmt_misc", "/proc/xen")

# An ordinary user of Debian has no sbin in their PATH.
PATH = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"


class Fails(Exception):
    """An operation did not do what a stage needs. Its text says what was seen."""


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation. Without it `stages` cannot start, and the feature `lost` does not work.

    `after`: another operation that is part of this one. If that fails, this one is not tried.
    """

    name: str
    do: Callable[[], str]  # says what was seen, or throws Fails
    fix: Callable[[str], str]  # from what was seen: what to type
    stages: Tuple[str, ...] = ()
    lost: str = ""
    after: str = ""
    vm_avoids: bool = True


@dataclasses.dataclass(frozen=True)
class Finding:
    """What came of an operation; `fix` and `breaks` only if it does not work."""

    name: str
    works: bool
    seen: str
    stages: Tuple[str, ...] = ()
    breaks: str = ""
    fix: str = ""
    vm_avoids: bool = False


# --- Ways to do something -----------------------------------------------------------------------


def run(*words: str, cwd: str = "/") -> str:
    """Runs a program and returns its output; raises Fails with the last line of its stderr."""
    if find_program(words[0]) is None:
        raise Fails(f"{words[0]} is not installed")
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, cwd=cwd,
                              stderr=subprocess.PIPE, text=True, timeout=TIME_LIMIT, check=False,
                              env={**os.environ, "PATH": PATH, "LC_ALL": "C"})
    except subprocess.TimeoutExpired:
        raise Fails(f"{words[0]} does not end") from None
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise Fails(said[-1])
    return done.stdout.strip()


def find_program(name: str) -> Optional[str]:
    return shutil.which(name, path=PATH)


def unshare(*options: str, script: str) -> None:
    """Runs `script` in new namespaces and an empty directory, which disappear with its effects."""
    with tempfile.TemporaryDirectory(prefix="doctor-") as empty:
        run("unshare", *options, "--", "sh", "-euc", script, cwd=empty)


def in_child(what: Callable[[], object]) -> None:
    """Does something in a process of its own, whose end undoes it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            what()
        except BaseException as error:  # pylint: disable=broad-except  # all of it is the parent's
            os.write(writer, str(error).encode() or b"failed")
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    if said or status:
        raise Fails(said or f"ended with wait status {status}")


def call(name: str, *arguments: object) -> None:
    """A function of libc that returns -1 and sets errno."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) == -1:
        raise Fails(f"{name}: {os.strerror(ctypes.get_errno())}")


def text_of(path: str) -> str:
    """A file's text; "" if it does not exist or we may not read it."""
    try:
        return pathlib.Path(path).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def must_be_root() -> None:
    if os.geteuid() != 0:
        raise Fails(f"you are {user_name()}, and only root can try")


def user_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid {os.geteuid()}"


# --- What the stages do -------------------------------------------------------------------------


def change_root() -> str:
    must_be_root()
    in_child(lambda: os.chroot("/"))
    return "chroot(2)"


def make_namespaces() -> str:
    must_be_root()
    unshare("--pid", "--fork", "--uts", "--ipc", "--mount-proc",
            script="hostname doctor; test $$ = 1; test $(readlink /proc/self) -lt 20")
    return "PID, UTS, IPC and mount namespaces, and a /proc of their own"


def make_user_namespace() -> str:
    unshare("--user", "--map-root-user", "--uts", script="test $(id -u) = 0; hostname doctor")
    return "root inside, which may set a host name"


def mount_proc() -> str:
    try:
        unshare("--user", "--map-root-user", "--pid", "--fork", "--mount-proc",
                script="test $(readlink /proc/self) -lt 20")
    except Fails as error:
        covered = covered_proc()
        raise Fails(f"{error}; covered: {', '.join(covered)}" if covered else str(error)) from error
    return "a /proc of its own"


def make_time_namespace() -> str:
    unshare("--user", "--map-root-user", "--time", "--boottime", "1000000000", "--fork",
            script="test $(cut -d. -f1 /proc/uptime) -gt 1000000000")
    return "an uptime of its own"


def map_ranges() -> str:
    if os.geteuid() == 0:
        return "root maps any range"
    for file in ("/etc/subuid", "/etc/subgid"):
        names = [line.split(":")[0] for line in text_of(file).splitlines()]
        if user_name() not in names and str(os.geteuid()) not in names:
            raise Fails(f"{file} has no line for {user_name()}")
    unshare("--user", "--map-root-user", "--map-auto",
            script="test $(wc -l </proc/self/uid_map) = 2")
    return "newuidmap and newgidmap map those of /etc/subuid"


def pivot_root() -> str:
    unshare(*OWN_MOUNTS, script="""
        mount -t tmpfs root .; cd "$PWD"
        mkdir old; touch null; mount --bind /dev/null null; mount -o remount,bind,ro,nosuid null
        pivot_root . old""")
    return "binds a device, makes it read-only, pivots"


def detach_mounts() -> str:
    # The new mount calls have no command line and no name in libc: open_tree(AT_FDCWD, "/dev/null",
    # OPEN_TREE_CLONE), fsopen("tmpfs", 0).
    program = """if True:
        import ctypes, os
        libc = ctypes.CDLL(None, use_errno=True)
        for name, *call in ("open_tree", 428, -100, b"/dev/null", 1), ("fsopen", 430, b"tmpfs", 0):
            if libc.syscall(*call) == -1:
                exit(name + ": " + os.strerror(ctypes.get_errno()))"""
    with tempfile.TemporaryDirectory(prefix="doctor-") as empty:
        run("unshare", *OWN_MOUNTS, "--", sys.executable, "-B", "-I", "-c", program, cwd=empty)
    return "open_tree(2) and fsopen(2)"


def mount_overlay() -> str:
    unshare(*OWN_MOUNTS, script="""
        mount -t tmpfs layers .; cd "$PWD"
        mkdir lower upper work merged; echo lower >lower/file
        mount -t overlay overlay -o userxattr,lowerdir=lower,upperdir=upper,workdir=work merged
        echo upper >merged/file; rm merged/file; test -e lower/file; test ! -e merged/file""")
    return "overlayfs, with writing and deleting"


def filter_calls() -> str:
    def install() -> None:
        set_seccomp, set_no_new_privs, filter_mode = 22, 38, 2
        allow_all = (ctypes.c_uint8 * 8)(0x06, 0, 0, 0, 0, 0, 0xFF, 0x7F)  # SECCOMP_RET_ALLOW
        program = (ctypes.c_uint64 * 2)(1, ctypes.addressof(allow_all))
        call("prctl", set_no_new_privs, 1, 0, 0, 0)
        call("prctl", set_seccomp, filter_mode, program, 0, 0)
    in_child(install)
    return "no_new_privs, and a filter of system calls"


def make_network() -> str:
    unshare("--user", "--map-root-user", "--net", script="test $(wc -l </proc/net/dev) = 3")
    return "a network with only lo"


def make_bridge() -> str:
    must_be_root()
    unshare("--net", script="ip link add doctor0 type bridge; ip link add doctor1 type veth")
    unshare("--net", script="""
        echo 'table ip doctor { chain out { type nat hook postrouting priority 100
          ip saddr 10.0.0.0/8 masquerade; }; }' | nft -f -""")
    return "a bridge, a veth pair, nftables with masquerade"


def attach_programs() -> str:
    must_be_root()
    unshare("--net", script="ip link add doctor0 type veth; tc qdisc add dev doctor0 clsact")

    def make_map() -> None:
        bpf = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
        map_create, array = 0, 2
        attributes = (ctypes.c_uint32 * 16)(array, 4, 4, 1)  # its keys, its values, how many
        call("syscall", bpf, map_create, attributes, ctypes.sizeof(attributes))
    in_child(make_map)
    return "maps of eBPF, and programs at a link's entrance"


def find_network_helper() -> str:
    found = [name for name in ("pasta", "slirp4netns") if find_program(name)]
    if not found:
        raise Fails("neither pasta nor slirp4netns is installed")
    with open("/dev/net/tun", "rb+", buffering=0):
        return f"{' and '.join(found)}, and /dev/net/tun opens"


def limit_resources() -> str:
    mounts = [line.split() for line in text_of("/proc/self/mountinfo").splitlines()]
    points = [mount[4] for mount in mounts if mount[mount.index("-") + 1] == "cgroup2"]
    own = [line[3:] for line in text_of("/proc/self/cgroup").splitlines() if line[:3] == "0::"]
    if not points or not own:
        raise Fails("no cgroup version 2 is mounted")
    cgroup = (points[0] + own[0]).rstrip("/")
    controllers = text_of(f"{cgroup}/cgroup.controllers").split()
    missing = [name for name in ("cpu", "memory", "pids") if name not in controllers]
    if missing:
        raise Fails(f"{cgroup} has no controller {', '.join(missing)}")
    os.rmdir(tempfile.mkdtemp(prefix="doctor-", dir=cgroup))
    return f"{cgroup} is ours, with {', '.join(controllers)}"


def find_security_module() -> str:
    label = text_of("/proc/self/attr/current").strip("\0")
    if text_of("/sys/module/apparmor/parameters/enabled") == "Y":
        return f"AppArmor; this program is {label}"
    enforces = text_of("/sys/fs/selinux/enforce")
    if enforces == "":
        raise Fails("this kernel uses neither AppArmor nor SELinux")
    return f"SELinux, {'enforcing' if enforces == '1' else 'permissive'}; this program is {label}"


def find_virtual_machine() -> str:
    qemu = f"qemu-system-{os.uname().machine}"
    if find_program(qemu) is None:
        raise Fails(f"{qemu} is not installed")
    try:
        with open("/dev/kvm", "rb+", buffering=0) as kvm:
            os.close(fcntl.ioctl(kvm, 0xAE01, 0))  # KVM_CREATE_VM
    except OSError as error:
        return f"QEMU without KVM (/dev/kvm: {error.strerror}): it emulates, slower"
    return "QEMU, and KVM makes a machine"


def find_packages() -> str:
    said = run(str(REPOSITORY / "setup.sh"), "--dry-run", cwd=str(REPOSITORY))
    if "everything is installed" not in said:
        raise Fails(" ".join(said.split()))
    return "Bazel and all libraries are installed"


# --- What to do about it ------------------------------------------------------------------------


def in_docker() -> bool:
    return os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv")


def fix_root(_: str) -> str:
    return "bazel run --config=root //stages/..., which asks sudo"


def fix_user_namespace(_: str) -> str:
    if text_of("/proc/sys/user/max_user_namespaces") == "0":
        return "sudo sysctl -w user.max_user_namespaces=10000"
    if os.geteuid() != 0:
        if text_of("/proc/sys/kernel/unprivileged_userns_clone") == "0":
            return "sudo sysctl -w kernel.unprivileged_userns_clone=1"
        # Ubuntu 24.04 lets clone(2) succeed, but refuses later calls.
        restricted = "kernel.apparmor_restrict_unprivileged_userns"
        if text_of("/proc/sys/" + restricted.replace(".", "/")) == "1":
            return f"sudo sysctl -w {restricted}=0"
    return fix_container("")


def fix_container(_: str) -> str:
    """A container's own layers forbid new ones; a filter or a covered /proc shows that we are in
    one."""
    if in_docker() or "Seccomp:\t2" in text_of("/proc/self/status") or covered_proc():
        return ("docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
                " --security-opt apparmor=unconfined ...")
    if os.geteuid() == 0 and not may_administer():
        return "give this container its capabilities: docker run --privileged ..."
    return f"{VM} -- COMMAND"


def may_administer() -> bool:
    """Whether we have CAP_SYS_ADMIN, which Docker removes from its root."""
    sets = [line.split()[1] for line in text_of("/proc/self/status").splitlines()
            if line.startswith("CapEff:")]
    return bool(sets) and bool(int(sets[0], 16) >> 21 & 1)


def covered_proc() -> List[str]:
    """The mounts that cover a part of /proc, because of which a user namespace may not mount a new
    one: the kernel's mount_too_revealing() ignores mounts on directories that are always empty."""
    points = [line.split()[4] for line in text_of("/proc/self/mountinfo").splitlines()]
    return [point for point in points if point.startswith("/proc/") and point not in ALWAYS_EMPTY]


def fix_overlay(_: str) -> str:
    if "overlay" not in text_of("/proc/filesystems"):
        return "sudo modprobe overlay"
    return fix_container("")


def fix_bridge(seen: str) -> str:
    if "not installed" in seen or "not found" in seen:
        return "sudo apt-get install nftables iproute2"
    return fix_root("") if os.geteuid() != 0 else "sudo modprobe -a bridge veth nf_tables nft_masq"


def fix_programs(seen: str) -> str:
    if "not installed" in seen:
        return "sudo apt-get install iproute2"
    return fix_root("") if os.geteuid() != 0 else "sudo modprobe -a sch_ingress cls_bpf"


def fix_ranges(_: str) -> str:
    name = user_name()
    return f"sudo apt-get install uidmap; sudo usermod --add-subuids 100000-165535" \
           f" --add-subgids 100000-165535 {name}"


def fix_limits(seen: str) -> str:
    if "no cgroup version 2" in seen:
        return "boot with systemd.unified_cgroup_hierarchy=1" + (
            ", or in WSL2 set kernelCommandLine=cgroup_no_v1=all in .wslconfig" if in_wsl() else "")
    if os.path.isdir("/run/systemd/system") and os.geteuid() != 0:
        return "systemd-run --user --scope -p Delegate=yes bash"
    return f"{VM} -- COMMAND"


def in_wsl() -> bool:
    return "microsoft" in text_of("/proc/version").lower()


def fix_network(seen: str) -> str:
    if "Permission denied" in seen:
        return "sudo chmod 666 /dev/net/tun"
    if "tun" in seen:
        return "sudo modprobe tun; in Docker: docker run --device /dev/net/tun ..."
    return "sudo apt-get install passt"


def fix_security_module(_: str) -> str:
    return "boot with apparmor=1 security=apparmor; or with SELinux, and its policy"


def fix_time_namespace(_: str) -> str:
    return "boot a kernel with CONFIG_TIME_NS, which Linux has since 5.6"


def fix_packages(_: str) -> str:
    return "./setup.sh"


USER_NAMESPACE = "a user namespace"
OPERATIONS = (
    Operation("root and chroot(2)", change_root, fix_root, NEED_ROOT),
    Operation("namespaces as root", make_namespaces, fix_root, ("04",), after="root and chroot(2)"),
    Operation(USER_NAMESPACE, make_user_namespace, fix_user_namespace, FROM_05),
    Operation("a /proc in it", mount_proc, fix_container, FROM_05, after=USER_NAMESPACE),
    Operation("a time namespace", make_time_namespace, fix_time_namespace, lost="04's --uptime",
              after=USER_NAMESPACE),
    Operation("ranges of ids", map_ranges, fix_ranges, lost="05's --uid-map with a range",
              after=USER_NAMESPACE),
    Operation("pivot_root(2) in it", pivot_root, fix_container, FROM_06, after=USER_NAMESPACE),
    Operation("detached mounts", detach_mounts, fix_container, FROM_06, after=USER_NAMESPACE),
    Operation("limits by cgroup v2", limit_resources, fix_limits,
              lost="07's --cpus, --memory, --pids-limit, --io-max"),
    Operation("an overlay in it", mount_overlay, fix_overlay, since("08a"),
              after=USER_NAMESPACE),
    Operation("a seccomp filter", filter_calls, fix_container, since("08b")),
    Operation("a network namespace", make_network, fix_container, since("08c"),
              after=USER_NAMESPACE),
    Operation("a bridge with NAT", make_bridge, fix_bridge, lost="08c's --network bridge"),
    Operation("a user's network", find_network_helper, fix_network,
              lost="08c's --network pasta and slirp4netns"),
    Operation("a security module", find_security_module, fix_security_module,
              lost="09's --security-opt"),
    Operation("eBPF programs", attach_programs, fix_programs, lost="10's shortcut"),
    Operation("a virtual machine", find_virtual_machine, fix_packages, lost=VM, vm_avoids=False),
    Operation("packages", find_packages, fix_packages, lost="bazel build and test",
              vm_avoids=False),
)


def examine_all(operations: Sequence[Operation] = OPERATIONS) -> List[Finding]:
    findings: List[Finding] = []
    for operation in operations:
        failed = [finding.name for finding in findings if not finding.works]
        findings.append(not_tried(operation) if operation.after in failed else examine(operation))
    return findings


def not_tried(operation: Operation) -> Finding:
    return Finding(operation.name, False, f"not tried without {operation.after}", operation.stages)


def examine(operation: Operation) -> Finding:
    try:
        return Finding(operation.name, True, operation.do())
    except (Fails, OSError) as error:
        seen = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
    word = "stages" if len(operation.stages) > 1 else "stage"
    stages = f"{word} {spans(operation.stages)}" if operation.stages else ""
    breaks = " and ".join(part for part in (stages, operation.lost) if part)
    return Finding(operation.name, False, seen, operation.stages, breaks, operation.fix(seen),
                   operation.vm_avoids)


# --- What to tell -------------------------------------------------------------------------------


def verdict(findings: Sequence[Finding]) -> str:
    """Which stages run here, and what the others need; in a second sentence, what is lost."""
    stages = STAGES[1:]
    broken = {stage: finding for finding in reversed(findings) for stage in finding.stages}
    good = [stage for stage in stages if stage not in broken]
    parts = ["no stage runs here" if not good else f"stage {good[0]} runs here"
             if len(good) == 1 else f"stages {spans(good)} run here"]
    first_broken = [broken[stage].name for stage in stages if stage in broken]
    for what in dict.fromkeys(first_broken):
        bad = [stage for stage in stages if stage in broken and broken[stage].name == what]
        parts.append(f"{spans(bad)} need{'' if len(bad) > 1 else 's'} {what}")
    lost = [finding.breaks for finding in findings if finding.breaks and not finding.stages]
    return "; ".join(parts) + (f". Not available: {'; '.join(lost)}" if lost else "")


def spans(stages: Sequence[str]) -> str:
    """"01, 05 to 08c": more than two neighbours are drawn together."""
    groups: List[List[str]] = []
    for stage in stages:
        if groups and STAGES.index(stage) == STAGES.index(groups[-1][-1]) + 1:
            groups[-1].append(stage)
        else:
            groups.append([stage])
    return ", ".join(f"{group[0]} to {group[-1]}" if len(group) > 2 else ", ".join(group)
                     for group in groups)


def tell(findings: Sequence[Finding]) -> str:
    width = max(len(finding.name) for finding in findings)
    good, bad = ("\033[32m", "\033[31m") if sys.stdout.isatty() else ("", "")
    plain = "\033[0m" if good else ""
    lines = []
    for finding in findings:
        mark = f"{good}ok  {plain}" if finding.works else f"{bad}no  {plain}"
        lines.append(f"{mark}  {finding.name:<{width}}  {finding.seen}")
        if finding.breaks:
            lines += [f"      {'':<{width}}  breaks  {finding.breaks}",
                      f"      {'':<{width}}  try     {finding.fix}"]
            if finding.vm_avoids and VM not in finding.fix:
                lines.append(f"      {'':<{width}}  or      {VM} -- COMMAND")
    return "\n".join(lines + ["", verdict(findings)])


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="harness.doctor",
                                     description="Which stages can this machine run?")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args(words)
    findings = examine_all()
    if arguments.json:
        print(json.dumps({"findings": [dataclasses.asdict(finding) for finding in findings],
                          "verdict": verdict(findings)}, indent=2))
    else:
        print(tell(findings))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
