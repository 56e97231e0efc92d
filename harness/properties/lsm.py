"""Stage 09: what a Linux security module denies, though capabilities and seccomp allow it."""

from __future__ import annotations

import contextlib
import pathlib
from typing import Dict, Iterator, List

from harness.agent_client import Json
from harness.properties.inside import held_with
from harness.properties.look import Ask, Look, Turn, tell_run
from harness.properties.model import Control, Positive, Property
from harness.properties.observing import command_did_not_run, does_not_start, refused
from harness.properties.scene import Stage
from harness.properties.verdict import NotInKernel, NotTestable, ProbeBroke, Seen, holds, violated

PROFILE = "containers-under-the-hood"
PROFILE_FILE = (pathlib.Path(__file__).resolve().parents[2]
                / "stages/09_lsm/containers.apparmor")
PARSER = "/usr/sbin/apparmor_parser"
ENABLED = "/sys/module/apparmor/parameters/enabled"

# With these, no earlier layer stops what the rows try.
OPEN = ("--cap-add", "SYS_ADMIN", "--cap-add", "NET_ADMIN", "--seccomp", "unconfined")
TRY = ("{stage} --rootfs {root} --cap-add SYS_ADMIN --cap-add NET_ADMIN --seccomp unconfined"
       f" --security-opt apparmor={PROFILE} -- /bin/sh -c")


def rows() -> List[Property]:
    return [
        Property(
            name="profile_confines_the_command", since="09", scene=confined,
            observe=has_the_profile,
            holds="the host sees the profile of --security-opt apparmor=PROFILE on the command",
            violated="the command is unconfined",
            lesson="AppArmor's rules are attached to a program when it is executed, and everything"
                   " that the program starts inherits them.",
            man="7 apparmor",
            mistake="The profile was written to attr/exec of another process, or never.",
            command=TRY + " 'cat /proc/self/attr/current'"),
        Property(
            name="mount_is_denied", since="09", scene=confined,
            asks=("confined_mount",),
            observe=refused("confined_mount", "EACCES"),
            needs=("profile_confines_the_command",),
            holds="root inside cannot mount, though it has CAP_SYS_ADMIN and no seccomp filter",
            violated="it mounts a tmpfs",
            lesson="--cap-add and --seccomp unconfined are typed fast; a rule about mount(2)"
                   " stays.",
            man="5 apparmor.d", mistake="The profile has a rule `mount,`.",
            command=TRY + " 'mount -t tmpfs x /mnt'"),
        Property(
            name="sysctls_stay_read_only", since="09", scene=confined,
            asks=("uncover_sysctls", "confined_sysctl"),
            observe=refused("confined_sysctl", "EACCES"),
            needs=("profile_confines_the_command",),
            holds="a sysctl cannot be written, though nothing covers /proc/sys any more",
            violated="it is written",
            lesson="A mount protects a path until it is unmounted; a rule about the path has"
                   " nothing that could be removed.",
            man="5 apparmor.d",
            mistake="The profile allows all files, and denies nothing below /proc/sys.",
            command=TRY + " 'umount /proc/sys; echo 1 >/proc/sys/net/ipv4/ip_forward'"),
        Property(
            name="firmware_stays_hidden", since="09", scene=confined,
            asks=("uncover_firmware", "confined_firmware"),
            observe=refused("confined_firmware", "EACCES"),
            needs=("profile_confines_the_command",),
            holds="/sys/firmware cannot be read, though nothing covers it any more",
            violated="it is listed",
            lesson="Tables of the firmware tell a container which machine it is on, and hold"
                   " licence keys.",
            man="5 apparmor.d", mistake="The profile allows to read all files.",
            command=TRY + " 'umount /sys/firmware; ls /sys/firmware'"),
        Property(
            name="ptrace_is_denied", since="09", scene=confined,
            asks=("confined_ptrace",),
            observe=refused("confined_ptrace", "EACCES", "EPERM"),
            needs=("profile_confines_the_command",),
            holds="a process cannot trace another one of the container", violated="it can",
            lesson="A debugger reads keys out of the memory of another process of the same user.",
            man="2 ptrace", mistake="The profile has a rule `ptrace,`.",
            command=TRY + " 'strace true'"),
        Property(
            name="packet_socket_is_denied", since="09", scene=confined,
            asks=("confined_packet",),
            observe=refused("confined_packet", "EACCES"),
            needs=("profile_confines_the_command",),
            holds="a packet socket cannot be opened, though CAP_NET_RAW is a default capability",
            violated="it is opened",
            lesson="With a packet socket, a container reads and forges all that passes its link,"
                   " such as ARP replies to its neighbours.",
            man="7 packet", mistake="The profile has a rule `network,`.",
            command=TRY + " 'arping -c 1 10.79.0.1'"),
        Property(
            name="profile_cannot_be_left", since="09", scene=confined,
            asks=("leave_profile",),
            observe=refused("leave_profile", "EACCES", "EPERM"),
            needs=("profile_confines_the_command",),
            holds="the command cannot change to another profile", violated="it can",
            lesson="A rule that a program can take off holds nothing back.",
            man="2 aa_change_profile", mistake="The profile has a rule `change_profile,`.",
            command=TRY + " 'echo changeprofile unconfined >/proc/self/attr/current'"),
        Property(
            name="default_profile_is_used", since="09", scene=by_default,
            observe=has_the_profile,
            holds=f"without the option, the command has the profile {PROFILE}, if it is loaded",
            violated="the command is unconfined",
            lesson="What has to be asked for is not there on the day when it is needed.",
            man="7 apparmor", mistake="Without the option nothing is done.",
            command="{stage} --rootfs {root} -- /bin/sh -c 'cat /proc/self/attr/current'"),
        Property(
            name="unconfined_can_be_chosen", since="09", scene=unconfined,
            observe=is_unconfined, control=Control.OTHER_SCENE, control_scene=confined,
            holds="with --security-opt apparmor=unconfined the command has no profile",
            violated="it has one",
            lesson="To debug a program, one layer at a time has to be taken away, and not all.",
            man="7 apparmor", mistake="unconfined is taken for the name of a profile to load.",
            command="{stage} --rootfs {root} --security-opt apparmor=unconfined -- /bin/sh -c"
                    " 'cat /proc/self/attr/current'"),
        Property(
            name="missing_profile_stops_the_start", since="09", scene=missing_profile,
            observe=command_did_not_run, control=Control.OTHER_SCENE, control_scene=unconfined,
            earned_by=Positive(unconfined),
            holds="with a profile that is not loaded nothing is started", violated="it starts",
            lesson="A typo in the name of a profile must not be a way to do without one.",
            man="7 apparmor", mistake="The error of writing to attr/exec is ignored.",
            command="{stage} --rootfs {root} --security-opt apparmor=missing -- /bin/true"),
        Property(
            name="false_proc_does_not_help", since="09", scene=false_proc,
            observe=is_confined_or_does_not_run, control=Control.NONE,
            earned_by=Positive(confined),
            seen_failing="the mutant label_written_by_path",
            holds="with a volume at /proc the command is confined, or does not run",
            violated="it runs unconfined",
            lesson="A label that is written to an ordinary file has no effect: runc's"
                   " CVE-2019-16884.",
            man="5 proc_pid_attr",
            mistake="The container's /proc is opened by its path, after its volumes are there.",
            command="{stage} --rootfs {root} --security-opt apparmor=" + PROFILE +
                    " -v ./false:/proc -- /bin/true"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def need_apparmor(stage: Stage) -> None:
    if stage.agent.read(ENABLED)[ENABLED].get("text") != "Y\n":
        raise NotInKernel("this kernel does not use AppArmor")
    if not stage.agent.has_own_host:
        raise NotTestable("only root may load a profile")
    if "errno" in stage.agent.stat(PARSER)[PARSER]:
        raise NotTestable("it needs apparmor_parser: apt-get install apparmor")


@contextlib.contextmanager
def loaded(stage: Stage, name: str) -> Iterator[None]:
    """The profile of the stage, with a name of its own, in the kernel."""
    file = f"{stage.folder}/profile"
    stage.agent.make([{"path": file, "text": PROFILE_FILE.read_text().replace(PROFILE, name)}])

    def parse(operation: str) -> None:
        done = stage.agent.run(["apparmor_parser", operation, "--skip-cache", file], 30.0,
                               program=PARSER)
        if done.get("exit") != 0:
            raise ProbeBroke(f"the profile: {tell_run(done)}")
    parse("--replace")
    try:
        yield
    finally:
        parse("--remove")


def own_name(stage: Stage) -> str:
    return f"box-{stage.nonce}"


def asked_for(stage: Stage, profile: str) -> List[str]:
    """The option, from the stage on that has it."""
    return ["--security-opt", f"apparmor={profile}"] if stage.at_least("09") else []


def held(stage: Stage, *options: str) -> Look:
    """Started with `options`; the host reads the command's profile while it holds."""
    def profile() -> Json:
        (probe,) = stage.processes_of_probe()
        paths = [f"/proc/{probe['pid']}/attr/{name}" for name in ("apparmor/current", "current")]
        texts = [found["text"] for found in stage.agent.read(*paths).values() if "text" in found]
        return {"profile": texts[0].strip() if texts else ""}
    verbs = [stage.verb(ask) for ask in ASKS if ask in stage.asks]
    return held_with(stage, verbs, *options, meanwhile=profile)


def confined(stage: Stage) -> Look:
    """A container that all other layers leave open: what is it denied?"""
    need_apparmor(stage)
    with loaded(stage, own_name(stage)):
        look = held(stage, *OPEN, *asked_for(stage, own_name(stage)))
    look.facts["wanted"] = own_name(stage)
    return look


def by_default(stage: Stage) -> Look:
    """The default profile confines every container of the machine: nothing else may run."""
    need_apparmor(stage)
    if not stage.agent.place.tests_all:
        raise NotTestable("it would change what this machine has loaded")
    with loaded(stage, PROFILE):
        look = held(stage)
    look.facts["wanted"] = PROFILE
    return look


def unconfined(stage: Stage) -> Look:
    need_apparmor(stage)
    return held(stage, "--security-opt", "apparmor=unconfined")


def missing_profile(stage: Stage) -> Look:
    need_apparmor(stage)
    return held(stage, "--security-opt", f"apparmor={own_name(stage)}")


def false_proc(stage: Stage) -> Look:
    """A volume at /proc has ordinary files where the kernel has those for labels."""
    need_apparmor(stage)
    false = f"{stage.folder}/volume"
    folders = ["self", "self/attr", "self/attr/apparmor", "1", "1/attr", "1/attr/apparmor",
               "thread-self", "thread-self/attr", "thread-self/attr/apparmor"]
    files = [f"{folder}/{name}" for folder in folders for name in ("exec", "current")
             if "attr" in folder]
    stage.agent.make(
        [{"kind": "directory", "path": f"{false}/{folder}", "mode": 0o755, **stage.owner}
         for folder in folders] +
        [{"path": f"{false}/{file}", "text": "", "mode": 0o666, **stage.owner} for file in files])
    with loaded(stage, own_name(stage)):
        look = held(stage, "--volume", f"{false}:/proc", *asked_for(stage, own_name(stage)))
    look.facts["wanted"] = own_name(stage)
    return look


ALONE = {by_default}


# --- Observations ---------------------------------------------------------------------------------


def has_the_profile(look: Look) -> Seen:
    profile, wanted = look.fact("profile"), look.fact("wanted")
    if profile == f"{wanted} (enforce)":
        return holds(profile)
    if profile == "unconfined":
        return violated(profile)
    raise ProbeBroke(f"its profile is {profile!r}")


def is_unconfined(look: Look) -> Seen:
    profile = look.fact("profile")
    return holds(profile) if profile == "unconfined" else violated(profile)


def is_confined_or_does_not_run(look: Look) -> Seen:
    if not look.answers.get("hello"):
        return does_not_start(look.run("run"))
    return has_the_profile(look)


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "confined_packet": Ask("open_socket=17,3", Turn.ATTACK),
    "confined_ptrace": Ask("trace_child", Turn.ATTACK),
    "leave_profile": Ask("write_text=/proc/self/attr/current,changeprofile unconfined",
                         Turn.ATTACK),
    "confined_mount": Ask("mount=/mnt/own", Turn.ATTACK),
    "uncover_sysctls": Ask("umount=/proc/sys", Turn.ATTACK),
    "confined_sysctl": Ask("write_text=/proc/sys/net/ipv4/ip_forward,1", Turn.ATTACK),
    "uncover_firmware": Ask("umount=/sys/firmware", Turn.ATTACK),
    "confined_firmware": Ask("list=/sys/firmware", Turn.ATTACK),
}
