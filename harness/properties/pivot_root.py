"""Stage 06: the old root is gone; /dev, /proc and /sys show and allow less."""

from __future__ import annotations

from typing import Dict, List

from harness.properties.inside import failing, held_with, inside, unhindered
from harness.properties.look import Ask, Look, Turn
from harness.properties.model import SHELL, Positive, Property
from harness.properties.observing import allowed, hidden, mount_options, stops_or
from harness.properties.scene import Stage
from harness.properties.verdict import ROOT, NotTestable, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="old_root_is_gone", since="06", scene=inside, observe=old_root_is_gone,
            needs=("own_mount_namespace",),
            holds="its mount namespace contains no mount of the host", violated="it still does",
            lesson="chroot(2) hides the host's mounts; only pivot_root(2) and umount2(2) let them"
                   " go.",
            man="2 pivot_root", mistake="The old root was not unmounted.",
            command=SHELL + " 'cat /proc/self/mountinfo'"),
        Property(
            name="second_chroot_leads_nowhere", since="06", scene=inside, asks=("by_chroot",),
            observe=hidden("by_chroot", "secret-{nonce}"),
            needs=("old_root_is_gone",),
            holds="root inside does not get out by a second chroot(2)",
            violated="it reads the host's file",
            lesson="'..' does not stop a process that is outside its root directory, and a process"
                   " that may call chroot(2) can get there.",
            man="2 chroot", mistake="The root is still a chroot, with the host's tree around it.",
            command=SHELL + " 'mkdir /x; chroot /x ...'"),
        Property(
            name="kept_directory_leads_nowhere", since="06", scene=inside, asks=("by_descriptor",),
            observe=hidden("by_descriptor", "secret-{nonce}"),
            needs=("old_root_is_gone",),
            holds="root inside does not get out by a descriptor of '/' and a second chroot(2)",
            violated="it reads the host's file",
            lesson="A directory that a process holds open stays reachable when the root moves"
                   " below it.",
            man="2 chroot", mistake="The root is still a chroot, with the host's tree around it.",
            command=SHELL + " 'exec 9</; ...'"),
        Property(
            name="namespaces_root_is_its_root", since="06", scene=inside, asks=("by_setns",),
            observe=hidden("by_setns", "secret-{nonce}"),
            needs=("old_root_is_gone",),
            holds="root inside unmounts / and joins its mount namespace again, and gets nowhere",
            violated="it reads the host's file",
            lesson="setns(2) leads to the root of the namespace, which a chroot does not change.",
            man="2 setns",
            mistake="The root is still a chroot, or the old root lies under the new.",
            command=SHELL + " 'umount -l /; nsenter --mount=/proc/self/ns/mnt cat /etc/hostname'"),
        Property(
            name="kernel_files_are_masked", since="06", scene=inside,
            asks=("keys", "timers", "interrupts"), observe=kernel_files_are_masked,
            holds="/proc/keys, timer_list and interrupts are empty",
            violated="they describe the host",
            lesson="Not all of /proc is about processes: some files describe the whole machine.",
            man="5 proc", mistake="The masks are missing, or were covered by /proc mounted later.",
            command=SHELL + " 'wc /proc/keys /proc/timer_list'"),
        Property(
            name="firmware_is_masked", since="06", scene=with_sys, asks=("firmware",),
            observe=firmware_is_masked,
            holds="/sys/firmware is empty", violated="it describes the machine",
            lesson="/sys describes the machine, whichever process mounts it.",
            man="5 sysfs", mistake="The masks are missing, or were covered by /sys mounted later.",
            command=SHELL + " 'ls /sys/firmware'"),
        Property(
            name="proc_paths_are_read_only", since="06", scene=inside,
            observe=proc_paths_are_read_only,
            holds="/proc/sys, /proc/irq and /proc/fs are mounted read-only",
            violated="they are not",
            lesson="A process that is also root outside may change the whole machine through"
                   " /proc/sys.",
            man="5 proc", mistake="The paths were not bind-mounted again, read-only.",
            command=SHELL + " 'grep /proc/ /proc/self/mountinfo'"),
        Property(
            name="sys_is_read_only", since="06", scene=with_sys, observe=sys_is_read_only,
            holds="/sys is mounted read-only", violated="it can be written",
            lesson="Files of /sys control the machine's hardware.",
            man="5 sysfs", mistake="/sys was mounted without MS_RDONLY.",
            command=SHELL + " 'grep /sys /proc/self/mountinfo'"),
        Property(
            name="dev_is_minimal", since="06", scene=inside, asks=("dev",),
            observe=dev_is_minimal,
            holds="/dev has what programs need, and no more", violated="it has more, or less",
            lesson="The host's /dev contains its disks.",
            man="4 null", mistake="The root's own /dev is used, or the host's.",
            command=SHELL + " 'ls /dev'"),
        Property(
            name="dev_null_works", since="06", scene=inside, asks=("dev_null", "dev_null_write"),
            observe=dev_null_works,
            holds="/dev/null is the device 1:3", violated="it is missing, or a file",
            lesson="In a user namespace no process may make a device node, but it may bind-mount"
                   " the host's.",
            man="4 null", mistake="/dev/null was made with open(2).",
            command=SHELL + " 'ls -l /dev/null'"),
        Property(
            name="planted_device_is_dead", since="06", scene=inside, asks=("planted",),
            observe=planted_device_is_dead, identities=(ROOT,),
            holds="a device node that came with the root cannot be opened", violated="it is opened",
            lesson="A root from an untrusted source may contain a node of the host's disk.",
            man="2 mount", mistake="The root is mounted without MS_NODEV.",
            command="mknod {root}/disk b 8 0; " + SHELL + " 'head -c 1 /disk'"),
        Property(
            name="terminals_are_own", since="06", scene=inside,
            asks=("new_terminal", "ptmx"),
            observe=terminals_are_own,
            holds="every user can open a new terminal",
            violated="there is no /dev/ptmx, or only root can open it",
            lesson="A new devpts numbers terminals from 0 and shows none of the host's.",
            man="4 pts",
            mistake="No devpts was mounted, it has no ptmxmode, or there is no /dev/ptmx.",
            command=SHELL + " 'ls /dev/pts'"),
        Property(
            name="shared_memory_works", since="06", scene=inside, asks=("shm",),
            observe=allowed("shm", "ENOENT", "EACCES", "EROFS"),
            holds="/dev/shm can be written", violated="there is none",
            lesson="shm_open(3) makes its files there.",
            man="7 shm_overview", mistake="No tmpfs was mounted at /dev/shm.",
            command=SHELL + " 'echo 1 > /dev/shm/x'"),
        Property(
            name="shared_memory_is_for_data", since="06", scene=inside,
            observe=shm_is_nosuid_nodev_noexec,
            holds="/dev/shm is mounted nosuid, nodev and noexec", violated="one of them is missing",
            lesson="All may write there: a program or a device node in it is never intended.",
            man="7 shm_overview", mistake="The tmpfs was mounted without flags.",
            command=SHELL + " 'grep /dev/shm /proc/self/mountinfo'"),
        Property(
            name="dev_stdin_is_there", since="06", scene=inside, asks=("dev_fd",),
            observe=allowed("dev_fd", "ENOENT"),
            holds="/dev/stdin leads to descriptor 0", violated="there is none",
            lesson="Shell scripts use their descriptors by these names.",
            man="5 proc", mistake="The links in /dev are missing.",
            command="echo hello | " + SHELL + " 'cat /dev/stdin'"),
        Property(
            name="no_pivot_no_start", since="06", scene=pivot_root_fails, asks=("by_setns",),
            observe=stops_or(hidden("by_setns", "secret-{nonce}")),
            earned_by=Positive(unhindered),
            holds="when pivot_root(2) fails, the command does not run",
            violated="it runs in a root that setns(2) leads out of",
            lesson="A container that starts with less isolation than asked for is worse than none.",
            man="2 pivot_root", mistake="The result of pivot_root(2) was not checked.",
            command="strace -f -e inject=pivot_root:error=EPERM " + SHELL + " ls"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def with_sys(stage: Stage) -> Look:
    """A root with the host's /sys in it, which users bind-mount there as long as no stage mounts
    one."""
    host = stage.agent.list("/sys/firmware")["/sys/firmware"]
    if stage.agent.has_own_host and not stage.at_least("06"):
        stage.busybox("mount", "--bind", "/sys", f"{stage.root}/sys")
    return held_with(stage, [stage.verb(ask) for ask in sorted(stage.asks)],
                     meanwhile=lambda: {"host_firmware": host})


def pivot_root_fails(stage: Stage) -> Look:
    return failing(stage, "pivot_root", "by_setns")


# --- Observations ---------------------------------------------------------------------------------


def old_root_is_gone(look: Look) -> Seen:
    look.check_that_it_is_there("mark")
    mounts = look.fact("all_mounts")
    if not mounts:
        raise ProbeBroke("the mounts of its namespace cannot be read")
    mark = [line for line in mounts.splitlines() if f"mark-{look.names['nonce']}" in line]
    if mark:
        return violated(f"its mount namespace still has a mount of the host's: {mark[0]}")
    return holds(f"of {len(mounts.splitlines())} mounts in its namespace none is the host's mark")


def terminals_are_own(look: Look) -> Seen:
    seen = allowed("new_terminal", "ENOENT", "EACCES", "ENXIO", "ENODEV", "EIO")(look)
    mode = look.answer("ptmx").get("mode", 0) & 0o7777
    if seen.holds and mode & 0o006 != 0o006:
        return violated(f"only root can open /dev/ptmx: its mode is {mode:o}")
    return seen


def dev_is_minimal(look: Look) -> Seen:
    answer = look.answer("dev")
    names = answer.get("names")
    if names is None:
        if answer.get("errno") == "ENOENT":
            return violated("there is no /dev")
        raise ProbeBroke(str(answer))
    usual = {"null", "zero", "full", "random", "urandom", "tty", "pts", "shm", "mqueue", "ptmx",
             "fd", "stdin", "stdout", "stderr", "console", "core"}
    if set(names) - usual:
        return violated(f"it also has {sorted(set(names) - usual)}")
    if {"null", "zero", "full", "random", "urandom", "tty"} <= set(names):
        return holds(f"it has {', '.join(sorted(names))}")
    return violated(f"it has only {sorted(names)}")


def dev_null_works(look: Look) -> Seen:
    answer = look.answer("dev_null")
    is_device = answer.get("mode", 0) & 0o170000 == 0o020000
    if is_device and (answer["major"], answer["minor"]) == (1, 3):
        if look.answer("dev_null_write").get("ok"):
            return holds("device 1:3, and it can be written")
        return violated(f"device 1:3, but {look.answer('dev_null_write')}")
    if answer.get("errno") == "ENOENT" or answer.get("ok"):
        return violated(f"it is not a device: {answer.get('errno') or oct(answer['mode'])}")
    raise ProbeBroke(str(answer))


def shm_is_nosuid_nodev_noexec(look: Look) -> Seen:
    options = mount_options(look, "/dev/shm")
    told = f"/dev/shm is mounted {','.join(options) or 'not at all'}"
    if all(flag in options for flag in ("nosuid", "nodev", "noexec")):
        return holds(told)
    return violated(told)


def planted_device_is_dead(look: Look) -> Seen:
    answer = look.answer("planted")
    if answer.get("errno") == "EACCES":
        return holds("open(2) of a device node in the root returns EACCES")
    if answer.get("ok"):
        return violated("the probe opened a device node that came with the root")
    raise ProbeBroke(str(answer))


def kernel_files_are_masked(look: Look) -> Seen:
    host = look.fact("host")
    asked = {"/proc/keys": "keys", "/proc/timer_list": "timers", "/proc/interrupts": "interrupts"}
    there = [path for path in asked if host[path].get("text")]
    if not there:
        raise NotTestable(f"this kernel has none of {', '.join(asked)}")
    answers = {path: look.answer(asked[path]) for path in there}
    shown = [path for path, answer in answers.items() if answer.get("text")]
    if shown:
        return violated(f"the probe reads what the host has in {', '.join(shown)}")
    if all(answer.get("text") == "" or "errno" in answer for answer in answers.values()):
        return holds(f"{', '.join(there)}, which the host has, are empty")
    raise ProbeBroke(str(answers))


def firmware_is_masked(look: Look) -> Seen:
    if not look.fact("host_firmware").get("entries"):
        raise NotTestable("this machine has nothing in /sys/firmware")
    answer = look.answer("firmware")
    if answer.get("names"):
        return violated(f"the probe sees {answer['names']}")
    if answer.get("names") == [] or answer.get("errno") == "ENOENT":
        return holds("it is empty, though the host has something there")
    raise ProbeBroke(str(answer))


def proc_paths_are_read_only(look: Look) -> Seen:
    options = {path: mount_options(look, path) for path in ("/proc/sys", "/proc/irq", "/proc/fs")}
    if all("ro" in mode for mode in options.values()):
        return holds(f"mountinfo on the host: {', '.join(options)} are mounted read-only")
    writable = [path for path, mode in options.items() if "ro" not in mode]
    return violated(f"mountinfo on the host: no read-only mount at {', '.join(writable)}")


def sys_is_read_only(look: Look) -> Seen:
    options = mount_options(look, "/sys")
    if "ro" in options:
        return holds(f"/sys is mounted {','.join(options)}")
    if "rw" in options:
        return violated(f"/sys is mounted {','.join(options)}")
    return violated("nothing is mounted at /sys", "No sysfs was mounted in the new root.")


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "dev": Ask("list={in}/dev"),
    "dev_null": Ask("stat={in}/dev/null"),
    "dev_null_write": Ask("write={in}/dev/null"),
    "planted": Ask("read={in}/etc/planted"),
    "dev_fd": Ask("stat=/dev/stdin"),
    "shm": Ask("write=/dev/shm/{nonce}"),
    "new_terminal": Ask("new_terminal"),
    "ptmx": Ask("stat=/dev/ptmx"),
    "keys": Ask("read=/proc/keys"),
    "timers": Ask("read=/proc/timer_list"),
    "interrupts": Ask("read=/proc/interrupts"),
    "firmware": Ask("list={in}/sys/firmware"),
    "by_chroot": Ask("escape_by_chroot={secret},{in}/tmp/a", Turn.ATTACK),
    "by_descriptor": Ask("escape_by_descriptor={secret},{in}/tmp/b", Turn.ATTACK),
    "by_setns": Ask("escape_by_setns={secret}", Turn.LAST),  # last: it may uncover the root
}
