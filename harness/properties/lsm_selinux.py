"""Stage 09 where the kernel uses SELinux: what a label denies, though all else allows it."""

from __future__ import annotations

import re
from typing import Dict, List, Tuple

from harness.agent_client import Json
from harness.properties.inside import held_with
from harness.properties.look import Ask, Look, Turn
from harness.properties.model import Control, Positive, Property
from harness.properties.observing import command_did_not_run, refused
from harness.properties.scene import Stage
from harness.properties.verdict import NotInKernel, NotTestable, ProbeBroke, Seen, holds, violated

TYPE = "hood_container_t"
TYPE_OF_FILES = "hood_container_file_t"
LEVELS = ("s0:c101,c202", "s0:c303,c404")
FOLDER = "/sys/fs/selinux"
CHCON = "/usr/bin/chcon"

# With these, no earlier layer stops what the rows try.
OPEN = ("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--seccomp", "unconfined")
TRY = ("{stage} --rootfs {root} --cap-add SYS_ADMIN --cap-add NET_ADMIN --seccomp unconfined"
       f" --security-opt label=type:{TYPE} -- /bin/sh -c")
PLAIN = f"{{stage}} --rootfs {{root}} --security-opt label=type:{TYPE}"


def rows() -> List[Property]:
    return [
        Property(
            name="label_confines_the_command", since="09", selinux=True, scene=labelled,
            observe=has_the_label,
            holds="the host sees the label of --security-opt label=… on the command",
            violated="the command has the label of its caller",
            lesson="SELinux decides by the label of a process, which it gets when it executes a"
                   " program, and which everything that it starts inherits.",
            man="8 selinux", mistake="The label was written after no_new_privs, or never.",
            command=TRY + " 'cat /proc/self/attr/current'"),
        Property(
            name="label_denies_mount", since="09", selinux=True, scene=labelled,
            asks=("labelled_mount",), observe=refused("labelled_mount", "EACCES", "EPERM"),
            needs=("label_confines_the_command",),
            holds="root inside cannot mount, though it has CAP_SYS_ADMIN and no seccomp filter",
            violated="it mounts a tmpfs",
            lesson="A policy says which capabilities a type may use, whatever --cap-add gives.",
            man="8 selinux", mistake="The policy allows the type CAP_SYS_ADMIN, and to mount.",
            command=TRY + " 'mount -t tmpfs x /mnt'"),
        Property(
            name="label_denies_ptrace", since="09", selinux=True, scene=labelled,
            asks=("labelled_ptrace",), observe=refused("labelled_ptrace", "EACCES", "EPERM"),
            needs=("label_confines_the_command",),
            holds="a process cannot trace another one of the container", violated="it can",
            lesson="A debugger reads keys out of the memory of another process of the same user.",
            man="2 ptrace", mistake="The policy allows the type ptrace of itself.",
            command=TRY + " 'strace true'"),
        Property(
            name="label_denies_packet_socket", since="09", selinux=True, scene=labelled,
            asks=("labelled_packet",), observe=refused("labelled_packet", "EACCES", "EPERM"),
            needs=("label_confines_the_command",),
            holds="a packet socket cannot be opened, though CAP_NET_RAW is a default capability",
            violated="it is opened",
            lesson="To SELinux each socket family is a class of its own; what no rule mentions is"
                   " denied.",
            man="7 packet", mistake="The policy allows the class packet_socket.",
            command=TRY + " 'arping -c 1 10.79.0.1'"),
        Property(
            name="label_cannot_be_left", since="09", selinux=True, scene=labelled,
            asks=("leave_label",), observe=refused("leave_label", "EACCES", "EPERM", "EINVAL"),
            needs=("label_confines_the_command",),
            holds="the command cannot ask for another label", violated="it can",
            lesson="A label that a program can take off holds nothing back.",
            man="5 proc_pid_attr", mistake="The policy allows the type setcurrent.",
            command=TRY + " 'echo -n system_u:system_r:kernel_t:s0 >/proc/self/attr/exec'"),
        Property(
            name="label_denies_sysctls", since="09", selinux=True, scene=shown_sysctls,
            asks=("volume_sysctl",), observe=refused("volume_sysctl", "EACCES", "EPERM"),
            needs=("label_confines_the_command",),
            holds="a sysctl cannot be written in a volume that shows the host's /proc/sys, though"
                  " it has CAP_NET_ADMIN",
            violated="it is written",
            lesson="A rule about a path does not know the same file at another path; a label"
                   " belongs to the file.",
            man="8 selinux",
            mistake="The policy allows the type CAP_NET_ADMIN, and to write sysctl_net_t.",
            command=PLAIN + " --cap-add NET_ADMIN -v /proc/sys/net:/mnt/host -- /bin/sh -c"
                            " 'echo 1 >/mnt/host/ipv4/ip_forward'"),
        Property(
            name="volume_without_label_is_closed", since="09", selinux=True, scene=shown_unlabelled,
            asks=("volume_file",), observe=refused("volume_file", "EACCES"),
            needs=("label_confines_the_command",),
            holds="a file of the host cannot be read in a volume, though its mode allows it",
            violated="it is read",
            lesson="A mistake in --volume shows a container files that are not its own; their"
                   " labels say so.",
            man="8 selinux", mistake="The policy lets the type open every file.",
            command=PLAIN + " -v ./volume:/mnt/host -- /bin/cat /mnt/host/file"),
        Property(
            name="levels_keep_files_apart", since="09", selinux=True, scene=shown_to_another_level,
            asks=("volume_file",), observe=refused("volume_file", "EACCES"),
            needs=("label_confines_the_command",),
            earned_by=Positive(shown_to_its_level),
            holds="a container cannot read a file of another one's level", violated="it can",
            lesson="All containers have the same type: the categories in their levels keep them"
                   " apart.",
            man="8 mcs", mistake="The level is not part of the label that is written.",
            command=PLAIN + f" --security-opt label=level:{LEVELS[0]} -v ./volume:/mnt/host --"
                            " /bin/cat /mnt/host/file"),
        Property(
            name="own_level_is_drawn", since="09", selinux=True, scene=two_by_default,
            observe=levels_differ,
            holds=f"without the option, two commands have the type {TYPE} and two different levels",
            violated="they have the same label",
            lesson="What has to be asked for is not there on the day when it is needed.",
            man="8 mcs", mistake="The level is a constant.",
            command="{stage} --rootfs {root} -- /bin/sh -c 'cat /proc/self/attr/current'"),
        Property(
            name="label_can_be_disabled", since="09", selinux=True, scene=disabled,
            observe=has_callers_label,
            control=Control.OTHER_SCENE, control_scene=labelled,
            holds="with --security-opt label=disable the command has the label of its caller",
            violated="it has one of its own",
            lesson="To debug a program, one layer at a time has to be taken away, and not all.",
            man="8 selinux", mistake="disable is taken for a part of a label.",
            command="{stage} --rootfs {root} --security-opt label=disable -- /bin/sh -c"
                    " 'cat /proc/self/attr/current'"),
        Property(
            name="missing_type_stops_the_start", since="09", selinux=True, scene=missing_type,
            observe=command_did_not_run, control=Control.OTHER_SCENE, control_scene=disabled,
            earned_by=Positive(disabled),
            holds="with a type that the policy does not have nothing is started",
            violated="it starts",
            lesson="A typo in the name of a type must not be a way to do without one.",
            man="8 selinux", mistake="The error of writing to attr/exec is ignored.",
            command="{stage} --rootfs {root} --security-opt label=type:missing_t -- /bin/true"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def need_selinux(stage: Stage) -> None:
    if stage.agent.read(f"{FOLDER}/enforce")[f"{FOLDER}/enforce"].get("text") != "1":
        raise NotInKernel("this kernel does not enforce a policy of SELinux")
    if not stage.agent.has_own_host:
        raise NotTestable("only root may label files")
    loaded = stage.agent.run(["chcon", "--type", TYPE_OF_FILES, stage.host_probe],
                             program=CHCON)
    if loaded.get("exit") != 0:
        raise NotTestable("the module containers.cil is not loaded")


def label_files(stage: Stage, kind: str, level: str) -> None:
    """The volume of the scene, with another label."""
    done = stage.agent.run(["chcon", "-R", "--type", kind, "--range", level,
                            f"{stage.folder}/volume"], program=CHCON)
    if done.get("exit") != 0:
        raise ProbeBroke(f"the volume cannot be labelled: {done}")


def asked_for(stage: Stage, level: str = "") -> List[str]:
    """The option, from the stage on that has it."""
    if not stage.at_least("09"):
        return []
    words = ["--security-opt", f"label=type:{TYPE}"]
    return words + (["--security-opt", f"label=level:{level}"] if level else [])


def label_of(stage: Stage, pid: int) -> str:
    path = f"/proc/{pid}/attr/current"
    return stage.agent.read(path)[path].get("text", "").strip("\0\n")


def held(stage: Stage, *options: str) -> Look:
    """Started with `options`; the host reads the command's label while it holds."""
    def label() -> Json:
        (probe,) = stage.processes_of_probe()
        return {"label": label_of(stage, probe["pid"]), "callers": label_of(stage, "self")}
    verbs = [stage.verb(ask) for ask in ASKS if ask in stage.asks]
    return held_with(stage, verbs, *options, meanwhile=label)


def labelled(stage: Stage) -> Look:
    """A container that all other layers leave open: what is it denied?"""
    need_selinux(stage)
    return held(stage, *OPEN, *asked_for(stage, LEVELS[0]))


def shown_sysctls(stage: Stage) -> Look:
    """Those of the network belong to the namespace of their reader, wherever they are mounted."""
    need_selinux(stage)
    return held(stage, *OPEN, "--volume", "/proc/sys/net:/mnt/host", *asked_for(stage))


def shown_unlabelled(stage: Stage) -> Look:
    """The host's own label on the file, which is that of /tmp."""
    need_selinux(stage)
    return shown(stage, "tmp_t", "s0", LEVELS[0])


def shown_to_another_level(stage: Stage) -> Look:
    need_selinux(stage)
    return shown(stage, TYPE_OF_FILES, *LEVELS)


def shown_to_its_level(stage: Stage) -> Look:
    need_selinux(stage)
    return shown(stage, TYPE_OF_FILES, LEVELS[0], LEVELS[0])


def shown(stage: Stage, kind: str, level_of_file: str, level: str) -> Look:
    label_files(stage, kind, level_of_file)
    return held(stage, "--volume", f"{stage.folder}/volume:/mnt/host", *asked_for(stage, level))


def two_by_default(stage: Stage) -> Look:
    """Two starts without the option."""
    need_selinux(stage)
    first = held(stage)
    second = held(stage)
    second.facts["first"] = first.fact("label")
    return second


def disabled(stage: Stage) -> Look:
    need_selinux(stage)
    return held(stage, "--security-opt", "label=disable")


def missing_type(stage: Stage) -> Look:
    need_selinux(stage)
    return held(stage, "--security-opt", "label=type:missing_t")


# --- Observations ---------------------------------------------------------------------------------


def type_and_level(label: str) -> Tuple[str, str]:
    parts = label.split(":", 3)
    if len(parts) != 4:
        raise ProbeBroke(f"its label is {label!r}")
    return parts[2], parts[3]


def has_the_label(look: Look) -> Seen:
    label = look.fact("label")
    found = type_and_level(label)
    if found == (TYPE, LEVELS[0]):
        return holds(label)
    return violated(label)


def levels_differ(look: Look) -> Seen:
    labels = look.fact("first"), look.fact("label")
    found = [type_and_level(label) for label in labels]
    are_own = all(kind == TYPE and re.fullmatch(r"s0:c\d+,c\d+", level) for kind, level in found)
    told = " and ".join(labels)
    return holds(told) if are_own and found[0] != found[1] else violated(told)


def has_callers_label(look: Look) -> Seen:
    label = look.fact("label")
    return holds(label) if label == look.fact("callers") else violated(label)


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "labelled_packet": Ask("open_socket=17,3", Turn.ATTACK),
    "labelled_ptrace": Ask("trace_child", Turn.ATTACK),
    "leave_label": Ask("write_text=/proc/self/attr/exec,system_u:system_r:kernel_t:s0",
                       Turn.ATTACK),
    "labelled_mount": Ask("mount=/mnt/own", Turn.ATTACK),
    "volume_sysctl": Ask("write_text=/mnt/host/ipv4/ip_forward,1", Turn.ATTACK),
    "volume_file": Ask("read=/mnt/host/file", Turn.ATTACK),
}
