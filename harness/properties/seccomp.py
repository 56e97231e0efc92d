"""Stage 08b: capabilities, no_new_privs, and a filter of system calls."""

from __future__ import annotations

import errno
import json
from typing import Dict, List

from harness.properties.inside import failing, held_with, inside, unhindered
from harness.properties.look import Ask, Look, Turn, never_ran, tell_run
from harness.properties.model import SHELL, Control, Positive, Property
from harness.properties.observing import refused, stops_or, text_is
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import ROOT, NotStarted, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="bounding_set_is_small", since="08b", scene=inside,
            observe=at_most(DOCKERS_CAPABILITIES, "CapBnd"),
            holds="CapBnd has none but Docker's capabilities", violated="CapBnd has more",
            lesson="No exec(2) gives a capability that is not in the bounding set: neither to"
                   " root, nor by file capabilities.",
            man="7 capabilities",
            mistake="The sets of the process were reduced, but not the bounding set.",
            command=SHELL + " 'grep CapBnd /proc/self/status'"),
        Property(
            name="effective_set_is_small", since="08b", scene=inside,
            observe=at_most(DOCKERS_CAPABILITIES, "CapEff", "CapPrm"),
            holds="CapEff and CapPrm have none but Docker's capabilities",
            violated="they have more",
            lesson="Root of a user namespace can reach all of the kernel's code that is meant for"
                   " root.",
            man="7 capabilities", mistake="Nothing was dropped, or exec(2) gave the capabilities"
                                          " back.",
            command=SHELL + " 'grep CapEff /proc/self/status'"),
        Property(
            name="inheritable_set_is_empty", since="08b", scene=inside,
            observe=at_most(0, "CapInh"), control=Control.NONE,
            seen_failing="stage 08b with inheritable = permitted in set_capabilities()",
            holds="CapInh is 0", violated="CapInh is not 0",
            lesson="A program with file capabilities may gain those of its caller's inheritable"
                   " set: Docker's CVE-2022-24769.",
            man="7 capabilities", mistake="All three sets of capset(2) were set to the same value.",
            command=SHELL + " 'grep CapInh /proc/self/status'"),
        Property(
            name="ambient_set_is_empty", since="08b", scene=inside,
            observe=at_most(0, "CapAmb"), control=Control.NONE,
            seen_failing="stage 08b with PR_CAP_AMBIENT_RAISE instead of PR_CAP_AMBIENT_CLEAR_ALL",
            holds="CapAmb is 0", violated="CapAmb is not 0",
            lesson="Ambient capabilities go to every program that the command starts as another"
                   " user.",
            man="7 capabilities",
            mistake="Capabilities were raised in the ambient set to survive exec(2).",
            command=SHELL + " 'grep CapAmb /proc/self/status'"),
        Property(
            name="capabilities_can_be_dropped", since="08b", scene=capabilities_dropped,
            observe=at_most(0, "CapEff", "CapPrm", "CapBnd"), control=Control.OTHER_SCENE,
            control_scene=inside,
            holds="with --cap-drop ALL there are none", violated="there are some",
            lesson="Most programs need no capability at all.",
            man="7 capabilities", mistake="--cap-drop is ignored.",
            command="{stage} --rootfs {root} --cap-drop ALL -- /bin/sh -c 'grep Cap"
                    " /proc/self/status'"),
        Property(
            name="one_capability_can_be_dropped", since="08b", scene=one_capability_dropped,
            observe=only_kill_is_missing, control=Control.OTHER_SCENE, control_scene=inside,
            holds="with --cap-drop KILL root inside lacks it, and keeps others",
            violated="root inside still has it",
            lesson="--cap-drop accepts names, not only ALL: most containers do not need NET_RAW.",
            man="7 capabilities", mistake="Only --cap-drop ALL was implemented.",
            command="{stage} --rootfs {root} --cap-drop KILL -- /bin/sh -c 'grep Cap"
                    " /proc/self/status'"),
        Property(
            name="init_has_few_rights", since="08b", scene=rights_of_init,
            observe=init_has_no_more, control=Control.STAGE_BEFORE,
            holds="with --init PID 1 has no more capabilities than the command may have",
            violated="PID 1 has more",
            lesson="PID 1 is in the container, too, and receives signals from it.",
            man="7 capabilities", mistake="The init is forked before the capabilities are dropped.",
            command="{stage} --rootfs {root} --init -- /bin/sh -c 'grep Cap /proc/1/status'"),
        Property(
            name="capability_can_be_added", since="08b", scene=capability_added,
            observe=capability_is_added, control=Control.OTHER_SCENE, control_scene=inside,
            holds="with --cap-add SYS_TIME root inside has it", violated="root inside does not",
            lesson="It is safer to grant the one capability that is needed than to grant all.",
            man="7 capabilities", mistake="--cap-add is ignored.",
            command="{stage} --rootfs {root} --cap-add SYS_TIME -- /bin/sh -c 'grep Cap"
                    " /proc/self/status'"),
        Property(
            name="masks_cannot_be_lifted", since="08b", scene=inside, asks=("lift_mask",),
            observe=mask_stays,
            needs=("effective_set_is_small",),
            holds="root inside cannot unmount what protects /proc/sys", violated="it is unmounted",
            lesson="A mount hides something only from a process that cannot unmount it, and"
                   " CAP_SYS_ADMIN lets a process unmount it.",
            man="2 umount", mistake="The container keeps CAP_SYS_ADMIN.",
            command=SHELL + " 'umount /proc/sys'"),
        Property(
            name="no_new_privs_is_set", since="08b", scene=inside, observe=no_new_privileges,
            holds="NoNewPrivs is 1", violated="NoNewPrivs is 0",
            lesson="No program that the container executes gains more privileges than its caller"
                   " has.",
            man="2 prctl", mistake="PR_SET_NO_NEW_PRIVS is missing.",
            command=SHELL + " 'grep NoNewPrivs /proc/self/status'"),
        Property(
            name="set_user_id_gives_nothing", since="08b", scene=set_user_id,
            observe=set_user_id_is_dead, identities=(ROOT,),
            needs=("no_new_privs_is_set",),
            holds="an ordinary user of the container who starts a set-user-ID program does not"
                  " become another user",
            violated="the user becomes root",
            lesson="Every set-user-ID program in an image is a way to root of the container.",
            man="2 prctl", mistake="PR_SET_NO_NEW_PRIVS is missing.",
            command="{stage} --rootfs {root} --uid-map 0:100000:10 -u 5 -- /bin/su"),
        Property(
            name="filter_is_installed", since="08b", scene=inside, observe=filter_is_installed,
            holds="the command has a seccomp filter", violated="it has none",
            lesson="Each system call that is allowed is kernel code that the container may attack.",
            man="2 seccomp", mistake="No filter was installed, or in another process.",
            command=SHELL + " 'grep Seccomp /proc/self/status'"),
        Property(
            name="parent_has_no_filter", since="08b", scene=inside,
            observe=parent_has_no_filter, control=Control.NONE,
            seen_failing="stage 08b with filter.install() in the parent, after the child's start",
            holds="the program that starts the container has no filter", violated="it has one",
            lesson="A filter cannot be removed: it must not hinder the process that has to clean"
                   " up.",
            man="2 seccomp", mistake="The filter was installed before the fork, or in the parent.",
            command=SHELL + " 'sleep 9' & grep Seccomp /proc/$!/status"),
        Property(
            name="filter_is_the_last_call", since="08b", scene=profile_in_a_file,
            observe=nothing_follows_the_filter, control=Control.NONE,
            seen_failing="stage 08b with filter.install() before drop_privileges()",
            holds="a profile that kills a process that builds a container does not hinder the"
                  " start",
            violated="it kills the program itself",
            lesson="A filter that is installed early has to allow calls that the command must not"
                   " make: setuid, mount.",
            man="2 seccomp", mistake="The filter was installed before the last privileged call.",
            command="strace -f {stage} --rootfs {root} -- /bin/true 2>&1 | grep -A9 seccomp"),
        Property(
            name="profile_of_a_file_is_used", since="08b", scene=profile_in_a_file,
            observe=file_is_used, asks=("set_hostname",), control=Control.OTHER_SCENE,
            control_scene=inside,
            needs=("filter_is_installed",),
            holds="--seccomp FILE decides what a call returns", violated="another profile does",
            lesson="The best profile is written for one program.",
            man="2 seccomp", mistake="--seccomp FILE is ignored.",
            command="{stage} --rootfs {root} --seccomp profile.json -- /bin/hostname x"),
        Property(
            name="strict_profile_denies_more", since="08b", scene=strict_profile, asks=("sysv",),
            observe=strict_denies_more, control=Control.OTHER_SCENE, control_scene=inside,
            needs=("filter_is_installed",),
            holds="--seccomp strict denies msgget(2)", violated="it is allowed",
            lesson="A list of allowed calls denies everything that its author forgot.",
            man="2 seccomp", mistake="--seccomp strict is the default profile.",
            command="{stage} --rootfs {root} --seccomp strict -- /bin/busybox ipcs"),
        Property(
            name="strict_profile_runs_a_shell", since="08b", scene=strict_profile,
            observe=strict_runs_a_shell, control=Control.NONE,
            seen_failing="stage 08b with pipe and pipe2 taken out of strict.json",
            holds="with --seccomp strict a shell and busybox work", violated="they do not",
            lesson="Users switch off a profile under which programs do not run.",
            man="2 seccomp", mistake="The list lacks what a shell needs.",
            command="{stage} --rootfs {root} --seccomp strict -- /bin/sh -c 'echo a | sed s/a/b/'"),
        Property(
            name="forbidden_calls_are_denied", since="08b", scene=inside, asks=("forbidden_calls",),
            observe=all_are("forbidden_calls", "EPERM", "ENOSYS", "EACCES", "killed"),
            needs=("filter_is_installed",),
            holds="some 50 system calls that no container needs are denied",
            violated="some reach the kernel",
            lesson="mount, bpf, io_uring, keyctl, perf_event_open, userfaultfd: most of these have"
                   " been used in exploits.",
            man="2 seccomp", mistake="The list of the filter has gaps.",
            command=SHELL + " 'mount -t tmpfs x /mnt'"),
        Property(
            name="int80_calls_are_killed", since="08b", scene=inside, asks=("int80_calls",),
            observe=all_are("int80_calls", "killed"),
            needs=("filter_is_installed",),
            holds="a process that makes a 32-bit call through int 0x80 is killed",
            violated="the call is made",
            lesson="System call numbers differ between architectures: mount(2) is 165 for 64-bit"
                   " programs, and 21 for 32-bit ones.",
            man="2 seccomp", mistake="The filter does not check the architecture.",
            command=SHELL + " ./32-bit-program"),
        Property(
            name="x32_calls_are_killed", since="08b", scene=inside, asks=("x32_calls",),
            observe=all_are("x32_calls", "killed"),
            needs=("filter_is_installed",),
            holds="a process that makes an x32 call is killed", violated="it reaches the kernel",
            lesson="x32 has the architecture of x86-64, and a bit in the number.",
            man="2 seccomp",
            mistake="The filter compares numbers without bit 30, or allows x32.",
            command=SHELL + " ./x32-program"),
        Property(
            name="clone3_is_not_there", since="08b", scene=inside, asks=("clone3",),
            observe=says_no_such_call("clone3"),
            needs=("filter_is_installed",),
            holds="clone3(2) returns ENOSYS", violated="it works, or returns EPERM",
            lesson="A filter cannot look into memory, where clone3 has its flags; ENOSYS makes"
                   " libc use clone.",
            man="2 clone", mistake="clone3 is allowed, or denied with EPERM.",
            command="strace -f {stage} --rootfs {root} -- /bin/python3 -c 'import threading'"),
        Property(
            name="newer_calls_are_not_there", since="08b", scene=inside, asks=("newer_call",),
            observe=says_no_such_call("newer_call"),
            needs=("filter_is_installed",),
            holds="a call that is newer than the profile returns ENOSYS",
            violated="it works, or returns EPERM",
            lesson="The author of a profile has not considered calls that did not exist yet.",
            man="2 seccomp",
            mistake="Calls that the filter does not list are allowed, or denied with EPERM.",
            command="strace {stage} --rootfs {root} -- /bin/true"),
        Property(
            name="terminal_cannot_be_typed_into", since="08b", scene=inside,
            asks=("terminal_input",), observe=terminal_input_is_denied("terminal_input"),
            needs=("filter_is_installed",),
            holds="TIOCSTI is denied", violated="it reaches the kernel",
            lesson="TIOCSTI types into the terminal: when the container ends, the host's shell"
                   " reads it.",
            man="2 ioctl_tty", mistake="ioctl(2) is allowed whatever its request.",
            command=SHELL + " ./tiocsti"),
        Property(
            name="terminal_input_has_no_disguise", since="08b", scene=inside,
            asks=("terminal_input_disguised",),
            observe=terminal_input_is_denied("terminal_input_disguised"),
            needs=("filter_is_installed",),
            holds="TIOCSTI with a bit in the high half is denied, too",
            violated="it reaches the kernel",
            lesson="The kernel uses 32 bits of a request, but the filter sees 64: CVE-2019-7303 of"
                   " snapd.",
            man="2 ioctl_tty", mistake="The filter compares all 64 bits.",
            command=SHELL + " ./tiocsti"),
        Property(
            name="console_cannot_be_pasted_into", since="08b", scene=inside,
            asks=("console_paste",), observe=terminal_input_is_denied("console_paste"),
            holds="TIOCLINUX is denied, with a bit in the high half, too",
            violated="it reaches the kernel",
            lesson="TIOCLINUX selects text of a virtual console and pastes it: it types what"
                   " TIOCSTI would.",
            man="2 ioctl_console", mistake="The filter denies TIOCSTI only.",
            command=SHELL + " ./tioclinux"),
        Property(
            name="other_namespaces_are_denied", since="08b", scene=inside,
            asks=("other_namespaces",),
            observe=all_are("other_namespaces", "EPERM", "ENOSYS", "EACCES", "killed"),
            holds="unshare(2) makes no namespace of any kind", violated="it makes one",
            lesson="A mount namespace of its own lets root inside mount and unmount again.",
            man="2 unshare", mistake="CAP_SYS_ADMIN was kept, and the filter denies user"
                                     " namespaces only.",
            command=SHELL + " 'unshare -m true'"),
        Property(
            name="clone_flags_have_no_disguise", since="08b", scene=inside,
            asks=("disguised_namespaces",),
            observe=all_are("disguised_namespaces", "EPERM", "ENOSYS", "EACCES", "killed"),
            holds="clone(2) with a bit in the high half of its flags makes no namespace",
            violated="it makes one",
            lesson="The kernel uses 32 bits of clone's flags, but the filter sees 64.",
            man="2 clone", mistake="The filter compares all 64 bits.",
            command=SHELL + " ./clone"),
        Property(
            name="socket_families_are_few", since="08b", scene=inside, asks=("socket_families",),
            observe=all_are("socket_families", "EPERM", "EACCES", "killed"),
            needs=("filter_is_installed",),
            holds="AF_ALG and AF_VSOCK are denied, with a bit in the high half, too",
            violated="one is not",
            lesson="AF_VSOCK talks to the virtual machine's host, past every network namespace.",
            man="7 vsock", mistake="socket(2) is allowed for all families, or compared in 64 bits.",
            command=SHELL + " 'python3 -c \"import socket; socket.socket(socket.AF_VSOCK)\"'"),
        Property(
            name="no_namespaces_inside", since="08b", scene=inside, asks=("new_namespaces",),
            observe=all_are("new_namespaces", "EPERM", "ENOSYS", "EACCES", "killed"),
            needs=("filter_is_installed",),
            holds="unshare(2) and clone(2) cannot make a user namespace", violated="one does",
            lesson="In a user namespace of its own a process has all capabilities again.",
            man="7 user_namespaces", mistake="The filter does not look at the flags of clone(2).",
            command=SHELL + " 'unshare -U true'"),
        Property(
            name="no_filter_no_start", since="08b", scene=seccomp_fails,
            observe=stops_or(filter_is_installed),
            earned_by=Positive(unhindered),
            holds="when seccomp(2) fails, the command does not run",
            violated="it runs without a filter",
            lesson="A container that starts with less isolation than asked for is worse than none.",
            man="2 seccomp", mistake="The result of seccomp(2) was not checked.",
            command="strace -f -e inject=seccomp:error=EINVAL " + SHELL + " ls"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------

NEWER_CALL = 451  # cachestat(2), of Linux 6.5, on every architecture: newer than filters know


def seccomp_fails(stage: Stage) -> Look:
    return failing(stage, "seccomp")


def capabilities_dropped(stage: Stage) -> Look:
    return held_with(stage, [], "--cap-drop", "ALL")


def one_capability_dropped(stage: Stage) -> Look:
    return held_with(stage, [], "--cap-drop", "KILL")


def rights_of_init(stage: Stage) -> Look:
    """With --init: PID 1 is the parent of the command."""
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"), "--init")
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        look.facts["init_status"] = stage.status_of(look.facts["status"]["PPid"])
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


def capability_added(stage: Stage) -> Look:
    return held_with(stage, [], "--cap-add", "SYS_TIME")


def strict_profile(stage: Stage) -> Look:
    """A shell, and calls that a strict profile does not allow."""
    look = held_with(stage, [stage.verb("sysv")], "--seccomp", "strict")
    script = "text=$(echo one | /bin/busybox sed s/one/two/); [ $text = two ] && exit 37"
    look.runs["sh"] = stage.run(["/bin/sh", "-c", script], "--seccomp", "strict")
    return look


# Calls that build a container, and that the probe does not make.
BUILDING = ("capset", "prctl", "seccomp", "setresuid", "setresgid", "setuid", "setgid",
            "setgroups", "chdir", "fchdir", "chroot", "close_range", "mount", "umount2",
            "pivot_root", "move_mount", "open_tree", "mount_setattr", "unshare", "setns")


def profile_in_a_file(stage: Stage) -> Look:
    """A profile that kills a process that goes on building the container, and has an errno of its
    own."""
    look = look_of(stage)
    path = f"{stage.folder}/profile.json"
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": list(BUILDING), "action": "SCMP_ACT_KILL_PROCESS"},
        {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOTCONN}]}
    stage.agent.make([{"path": path, "text": json.dumps(profile), "mode": 0o644, **stage.owner}])
    stage.watch()
    verb = stage.verb("set_hostname")
    look.runs["run"] = stage.run(stage.probe("hello", verb, "exit=37"), "-w", "/tmp",
                                 "--seccomp", path)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    if not look.answers:
        look.problem = f"the container never ran the command: {tell_run(look.runs['run'])}"
    return look


def set_user_id(stage: Stage) -> Look:
    """An ordinary user of the container starts a set-user-ID program of its root."""
    # A tree for this map: where the root directory is the range's, its files are shown as they are.
    stage.agent.make([{"kind": "directory", "path": stage.root, "uid": 100000, "gid": 200000,
                       "mode": 0o755},
                      {"path": f"{stage.root}/become-root", "copy_from": stage.tools.probe,
                       "uid": 100000, "gid": 200000, "mode": 0o4755}])
    return held_with(stage, ["run=/become-root,effective_user"], "--uid-map", "0:100000:10",
                     "--gid-map", "0:200000:10", "-u", "5:6")


# --- Observations ---------------------------------------------------------------------------------

# Docker's fourteen, as docker run sets them.
DOCKERS_CAPABILITIES = 0xA80425FB
CAP_KILL = 5
CAP_SYS_TIME = 25


def capabilities_of(look: Look, name: str) -> int:
    """One of the five sets of capabilities(7), as /proc/PID/status on the host has it."""
    text = look.fact("status").get(name, "")
    if not text:
        raise ProbeBroke(f"there is no {name}")
    return int(text, 16)


def at_most(allowed: int, *sets: str):
    """Do these sets contain no capabilities except `allowed`?"""
    def observe(look: Look) -> Seen:
        values = {name: capabilities_of(look, name) for name in sets}
        told = ", ".join(f"{name} is {value:#x}" for name, value in values.items())
        if any(value & ~allowed for value in values.values()):
            return violated(told)
        return holds(told)
    return observe


def only_kill_is_missing(look: Look) -> Seen:
    effective = capabilities_of(look, "CapEff")
    bounding = capabilities_of(look, "CapBnd")
    told = f"CapEff is {effective:#x}, CapBnd is {bounding:#x}"
    if (effective | bounding) >> CAP_KILL & 1:
        return violated(f"{told}, with CAP_KILL")
    if effective == 0:
        return violated(f"{told}: all of them are gone")
    return holds(f"{told}, without CAP_KILL")


def init_has_no_more(look: Look) -> Seen:
    status = look.fact("init_status")
    values = {name: int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd")}
    told = ", ".join(f"{name} of PID 1 is {value:#x}" for name, value in values.items())
    if any(value & ~DOCKERS_CAPABILITIES for value in values.values()):
        return violated(told)
    return holds(told)


def capability_is_added(look: Look) -> Seen:
    effective = capabilities_of(look, "CapEff")
    if effective >> CAP_SYS_TIME & 1:
        return holds(f"CapEff is {effective:#x}, with CAP_SYS_TIME")
    return violated(f"CapEff is {effective:#x}, without CAP_SYS_TIME")


def mask_stays(look: Look) -> Seen:
    if look.answer("lift_mask").get("errno") == "EINVAL":  # see umount(2)
        return violated("nothing is mounted at /proc/sys that could protect it")
    return refused("lift_mask", "EPERM", "ENOSYS")(look)


def no_new_privileges(look: Look) -> Seen:
    return text_is(look.fact("status").get("NoNewPrivs", ""),
                   {"1": "NoNewPrivs of /proc/PID/status on the host"},
                   {"0": "NoNewPrivs of /proc/PID/status on the host"})


def tell_filters(status: Dict[str, str]) -> str:
    return f"Seccomp {status.get('Seccomp')}, Seccomp_filters {status.get('Seccomp_filters')}"


def filters_of(status: Dict[str, str]) -> int:
    """How many filters a process has. Before Linux 5.9 only whether it has any is known."""
    if "Seccomp" not in status:
        raise ProbeBroke("there is no Seccomp in /proc/PID/status")
    return int(status.get("Seccomp_filters") or status["Seccomp"] == "2")


def filter_is_installed(look: Look) -> Seen:
    # In failing(), the program itself has a filter, which refuses its calls.
    inside, host = look.fact("status"), look.facts.get("program_status", look.fact("host_status"))
    if filters_of(inside) > filters_of(host) and inside["Seccomp"] == "2":
        return holds(f"{tell_filters(inside)}; the host has {filters_of(host)}")
    return violated(tell_filters(inside))


def parent_has_no_filter(look: Look) -> Seen:
    parent, host = look.fact("parent_status"), look.fact("host_status")
    if filters_of(parent) > filters_of(host):
        return violated(f"the program that started it has: {tell_filters(parent)}")
    return holds(f"the program that started it: {tell_filters(parent)}")


def outcomes_of(look: Look, ask: str) -> Dict[str, str]:
    """The outcome of each call: an errno, "ok", or "killed"."""
    outcomes = dict(text.split("=") for text in look.answer(ask).get("outcomes", []))
    if not outcomes or "?" in outcomes.values():
        raise ProbeBroke(str(look.answer(ask)))
    return outcomes


def all_are(ask: str, *good: str):
    """Did all of these calls end in one of these ways?"""
    def observe(look: Look) -> Seen:
        outcomes = outcomes_of(look, ask)
        others = [f"{name}: {outcome}" for name, outcome in outcomes.items() if outcome not in good]
        if others:
            return violated(f"{len(others)} of {len(outcomes)} got through: {', '.join(others)}")
        return holds(f"all {len(outcomes)}: {', '.join(sorted(set(outcomes.values())))}")
    return observe


def says_no_such_call(ask: str):
    """Does a system call that this kernel has fail with ENOSYS?"""
    def observe(look: Look) -> Seen:
        error = look.answer(ask).get("errno")
        if error == "ENOSYS":
            return holds("ENOSYS, as from a kernel that does not have it")
        if error in ("EINVAL", "EBADF", "EFAULT", "EPERM"):
            return violated(error)
        raise ProbeBroke(str(look.answer(ask)))
    return observe


def terminal_input_is_denied(ask: str):
    """The kernel returns ENOTTY for a descriptor that is not a terminal: then the call has reached
    it."""
    def observe(look: Look) -> Seen:
        error = look.answer(ask).get("errno", "ok")
        return text_is(error, {"EPERM": "the filter's", "EACCES": "the filter's"},
                       {"ENOTTY": "the kernel's", "EIO": "the kernel's"})
    return observe


def set_user_id_is_dead(look: Look) -> Seen:
    told = look.answers.get("effective_user", [{}])[0]
    if look.problem:
        raise NotStarted(look.problem)
    if told.get("euid") == 0:
        return violated("it became root of the container")
    if told.get("euid") == told.get("uid") == 5:
        return holds("it stayed uid 5")
    raise ProbeBroke(str(look.answers))


def strict_denies_more(look: Look) -> Seen:
    error = look.answer("sysv").get("errno")
    if error in ("EPERM", "ENOSYS"):
        return holds(f"msgget(2) said {error}")
    if error == "ENOENT" or look.answer("sysv").get("ok"):
        return violated("msgget(2) is allowed")
    raise ProbeBroke(str(look.answer("sysv")))


def strict_runs_a_shell(look: Look) -> Seen:
    run = look.run("sh")
    if run.get("exit") == 37:
        return holds("the shell, a pipe and sed ran")
    if run["why"] == "ended":
        return violated(tell_run(run))
    raise never_ran(run)


def file_is_used(look: Look) -> Seen:
    error = look.answer("set_hostname").get("errno")
    if error == "ENOTCONN":
        return holds("sethostname(2) returns ENOTCONN, as the profile requires")
    if error == "EPERM" or look.answer("set_hostname").get("ok"):
        return violated(f"sethostname(2): {look.answer('set_hostname')}")
    raise ProbeBroke(str(look.answer("set_hostname")))


def nothing_follows_the_filter(look: Look) -> Seen:
    run = look.run("run")
    if look.answers.get("hello") and run.get("exit") == 37:
        return holds("it started, though its filter kills a process that builds a container")
    if run["why"] == "ended" and run.get("exit") != 0:
        return violated(f"it went on building the container: {tell_run(run)}")
    raise never_ran(run)


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "forbidden_calls": Ask("forbidden_calls", Turn.ATTACK),
    "int80_calls": Ask("int80_calls", Turn.ATTACK),
    "x32_calls": Ask("x32_calls", Turn.ATTACK),
    "newer_call": Ask(f"call={NEWER_CALL}", Turn.ATTACK),
    "clone3": Ask("clone3", Turn.ATTACK),
    "terminal_input": Ask("terminal_input=0", Turn.ATTACK),
    "terminal_input_disguised": Ask("terminal_input=1", Turn.ATTACK),
    "socket_families": Ask("socket_families", Turn.ATTACK),
    "new_namespaces": Ask("new_namespaces", Turn.ATTACK),
    "other_namespaces": Ask("other_namespaces", Turn.ATTACK),
    "disguised_namespaces": Ask("disguised_namespaces", Turn.ATTACK),
    "console_paste": Ask("ioctl=0x541c,5", Turn.ATTACK),
    "lift_mask": Ask("umount=/proc/sys", Turn.LATE),
}
