"""Stage 04: PID, mount, UTS and IPC namespaces, /proc and a host name."""

from __future__ import annotations

from typing import Dict, List

from harness.properties.inside import failing, held_with, inside, unhindered
from harness.properties.look import Ask, Look, Turn, tell_run
from harness.properties.model import SHELL, Control, Positive, Property
from harness.properties.observing import (does_not_start, own_namespace, refused, stops_or,
                                          text_is)
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import ROOT, USER, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="own_pid_namespace", since="04", scene=inside, observe=own_namespace("pid"),
            holds="another PID namespace than the host's", violated="the host's PID namespace",
            lesson="A PID namespace has process numbers of its own.",
            man="7 pid_namespaces",
            mistake="unshare(CLONE_NEWPID) moves only the children of its caller, not the caller.",
            command=SHELL + " 'echo $$'"),
        Property(
            name="own_mount_namespace", since="04", scene=inside, observe=own_namespace("mnt"),
            holds="another mount namespace than the host's", violated="the host's mount namespace",
            lesson="A mount namespace has a list of mounts of its own.",
            man="7 mount_namespaces", mistake="CLONE_NEWNS is missing.",
            command=SHELL + " 'mount -t tmpfs x /mnt'; grep /mnt /proc/mounts"),
        Property(
            name="own_uts_namespace", since="04", scene=inside, observe=own_namespace("uts"),
            holds="another UTS namespace than the host's", violated="the host's UTS namespace",
            lesson="A UTS namespace has a host name of its own.",
            man="7 uts_namespaces", mistake="CLONE_NEWUTS is missing.",
            command=SHELL + " 'hostname inside'; hostname"),
        Property(
            name="own_ipc_namespace", since="04", scene=inside, observe=own_namespace("ipc"),
            holds="another IPC namespace than the host's", violated="the host's IPC namespace",
            lesson="System V IPC and POSIX queues have no paths: no root directory hides them.",
            man="7 ipc_namespaces", mistake="CLONE_NEWIPC is missing.",
            command="ipcmk -Q; " + SHELL + " 'ipcs -q'"),
        Property(
            name="command_is_pid_1", since="04", scene=inside, observe=is_pid_1,
            needs=("own_pid_namespace",),
            holds="the last number of NSpid is 1", violated="NSpid has no number 1 inside",
            lesson="The first process of a PID namespace is its init: when it ends, the kernel"
                   " kills all others.",
            man="7 pid_namespaces",
            mistake="The program forked once more than needed, or the command was not born in the"
                    " namespace.",
            command=SHELL + " 'echo $$'"),
        Property(
            name="proc_is_mounted", since="04", scene=inside, asks=("proc",),
            observe=proc_is_mounted,
            holds="/proc is a procfs", violated="/proc is an ordinary directory",
            lesson="ps(1) and many others read /proc; an empty one breaks them.",
            man="5 proc", mistake="No procfs was mounted in the new root.",
            command=SHELL + " 'ps'"),
        Property(
            name="host_processes_are_hidden", since="04", scene=inside, asks=("host_processes",),
            observe=host_processes_are_hidden,
            needs=("own_pid_namespace",),
            holds="a process of the host is not in /proc",
            violated="a process of the host is in /proc",
            lesson="A procfs shows the PID namespace of the process that mounted it.",
            man="7 pid_namespaces",
            mistake="/proc was mounted by a process of the host's PID namespace, or is the host's.",
            command=SHELL + " 'ps'"),
        Property(
            name="host_processes_are_safe", since="04", scene=inside, asks=("kill",),
            observe=host_processes_are_safe,
            needs=("own_pid_namespace",),
            holds="a process of the host cannot be signalled", violated="it is killed",
            lesson="A process without a number in the caller's PID namespace cannot be signalled.",
            man="2 kill", mistake="The container shares the host's PID namespace.",
            command="sleep 100 & " + SHELL + " \"kill -9 $!\""),
        Property(
            name="hostname_is_own", since="04", scene=named, asks=("hostname",),
            observe=hostname_is_own,
            holds="the name that --hostname gave", violated="the host's name",
            lesson="In prompts and logs, users recognize a container by its name.",
            man="7 uts_namespaces", mistake="--hostname is not set in the new UTS namespace.",
            command="{stage} --rootfs {root} --hostname box -- /bin/hostname"),
        Property(
            name="hostname_is_never_the_hosts", since="04", scene=default_hostname,
            asks=("hostname",), observe=hostname_is_not_the_hosts,
            needs=("own_uts_namespace",),
            holds="without --hostname, too, it is another than the host's",
            violated="the host's name",
            lesson="A prompt with the host's name makes the container look like the host.",
            man="7 uts_namespaces", mistake="The name is set only if --hostname is given.",
            command=SHELL + " hostname"),
        Property(
            name="hosts_name_is_kept", since="04", scene=named, observe=hosts_name_is_kept,
            control=Control.NONE, seen_failing="the mutant sethostname_before_clone",
            needs=("own_uts_namespace",),
            holds="the host keeps its name while the container runs",
            violated="the host has the container's name",
            lesson="The name belongs to the UTS namespace of the process that sets it.",
            man="2 sethostname", mistake="--hostname was set by the parent.",
            command="{stage} --rootfs {root} --hostname box -- /bin/sleep 5 & hostname"),
        Property(
            name="hosts_new_name_is_hidden", since="04", scene=inside,
            asks=("hostname", "hostname_again"), observe=hosts_new_name_is_hidden,
            needs=("own_uts_namespace",),
            holds="still its own name when the host changes its name",
            violated="the host's new name",
            lesson="Each UTS namespace has its own copy of the name.",
            man="7 uts_namespaces", mistake="CLONE_NEWUTS is missing.",
            command=SHELL + " 'sleep 5; hostname' & hostname other"),
        Property(
            name="hostname_change_stays_inside", since="04", scene=inside, asks=("set_hostname",),
            observe=hostname_change_stays_inside,
            needs=("own_uts_namespace",),
            holds="the host keeps its name when the container changes its own",
            violated="the host has the container's name",
            lesson="Root in a container may set its name: it must not be the host's.",
            man="2 sethostname",
            mistake="The name was set before the UTS namespace was made, or there is none.",
            command=SHELL + " 'hostname other'; hostname"),
        Property(
            name="sysv_ipc_is_hidden", since="04", scene=inside, asks=("sysv",),
            observe=refused("sysv", "ENOENT"),
            needs=("own_ipc_namespace",),
            holds="a message queue of the host is not found", violated="the host's queue is found",
            lesson="System V IPC is found by a number, not by a path.",
            man="7 sysvipc", mistake="CLONE_NEWIPC is missing.",
            command="ipcmk -Q; " + SHELL + " 'ipcs -q'"),
        Property(
            name="sysv_ipc_stays_inside", since="04", scene=inside, asks=("make_sysv",),
            observe=sysv_made_inside_stays_inside,
            needs=("own_ipc_namespace",),
            holds="the host does not list the container's queue", violated="the host lists it",
            lesson="The kernel removes all queues of an IPC namespace together with it, so none is"
                   " left on the host.",
            man="7 ipc_namespaces", mistake="CLONE_NEWIPC is missing.",
            command=SHELL + " 'ipcmk -Q'; ipcs -q"),
        Property(
            name="posix_queue_is_hidden", since="04", scene=inside, asks=("queue",),
            observe=refused("queue", "ENOENT"),
            needs=("own_ipc_namespace",),
            holds="a POSIX queue of the host is not found", violated="the host's queue is found",
            lesson="POSIX queues belong to the IPC namespace too, though they look like files.",
            man="7 mq_overview", mistake="CLONE_NEWIPC is missing.",
            command=SHELL + " 'ls /dev/mqueue'"),
        Property(
            name="posix_queue_stays_inside", since="04", scene=inside, asks=("make_queue",),
            observe=queue_made_inside_stays_inside,
            needs=("own_ipc_namespace",),
            holds="the host does not list the container's POSIX queue",
            violated="the host lists it",
            lesson="Queues use the machine's memory until they are removed.",
            man="7 mq_overview", mistake="CLONE_NEWIPC is missing.",
            command=SHELL + " 'touch /dev/mqueue/x'; ls /dev/mqueue"),
        Property(
            name="mount_stays_inside", since="04", scene=inside, asks=("mount",),
            observe=mount_stays_inside,
            needs=("own_mount_namespace", "mounts_are_private"),
            holds="the host does not see what the container mounts", violated="the host sees it",
            lesson="A new mount namespace is a copy whose mounts are peers of the originals: what"
                   " is mounted in one appears in the other, unless they are made private.",
            man="7 mount_namespaces", mistake="Mount propagation was left on.",
            command=SHELL + " 'mount -t tmpfs x /mnt'; grep x /proc/mounts"),
        Property(
            name="host_mount_stays_outside", since="04", scene=inside, asks=("host_mount",),
            observe=host_mount_stays_outside, identities=(ROOT, USER),
            needs=("own_mount_namespace", "mounts_are_private"),
            holds="what the host mounts later does not appear",
            violated="it appears in the container",
            lesson="Propagation works in both directions; MS_SLAVE stops only one of them.",
            man="7 mount_namespaces", mistake="The mounts are slaves or shared, not private.",
            command=SHELL + " 'sleep 5; ls /mnt' & mount -t tmpfs x {root}/mnt"),
        Property(
            name="mounts_are_private", since="04", scene=inside, observe=mounts_are_private,
            needs=("own_mount_namespace",),
            holds="no mount of the namespace is shared or a slave", violated="some are",
            lesson="/proc/PID/mountinfo shows for each mount whether it propagates.",
            man="7 mount_namespaces", mistake="Only some mounts were made private: MS_REC is"
                                              " missing.",
            command=SHELL + " 'grep -E \"shared|master\" /proc/self/mountinfo'"),
        Property(
            name="no_namespaces_no_start", since="04", scene=namespaces_fail,
            observe=stops_or(own_namespace("uts")), needs=("own_uts_namespace",),
            earned_by=Positive(unhindered),
            holds="when namespaces cannot be made, the command does not run",
            violated="it runs in the host's",
            lesson="A container that starts with less isolation than asked for is worse than none.",
            man="2 clone", mistake="The result of the call was not checked.",
            command="strace -f -e inject=clone3,unshare:error=EPERM " + SHELL + " hostname"),
        Property(
            name="hostile_proc_stays_inside", since="04", scene=hostile_proc,
            observe=proc_stays_inside, control=Control.NONE,
            seen_failing="stage 04 with mount_proc() before change_root(), on root + /proc",
            earned_by=Positive(inside),
            holds="with a root whose /proc is a link to a directory of the host, nothing is"
                  " mounted there",
            violated="procfs is mounted on the host's directory",
            lesson="A process outside a root follows the links in it: they lead wherever the"
                   " author of the root wants.",
            man="7 symlink", mistake="The root's /proc was looked up from outside the root.",
            command="ln -sfn /srv {root}/proc; " + SHELL + " 'cat /proc/self/mountinfo'"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------

PROC_MAGIC = 0x9FA0  # the type that statfs(2) returns for a procfs


def named(stage: Stage) -> Look:
    """Started with --hostname."""
    name = "/proc/sys/kernel/hostname"
    options = ["--hostname", stage.names["hostname"]] if stage.at_least("04") else []
    before = stage.agent.read(name)
    look = held_with(stage, [stage.verb("hostname")], *options, meanwhile=lambda: {
        "hostname_before": before[name].get("text", "").strip(),
        "hostname_during": stage.agent.read(name)[name].get("text", "").strip()})
    return look


def default_hostname(stage: Stage) -> Look:
    """Started without --hostname."""
    look = look_of(stage)
    stage.watch()
    look.facts["hostname"] = (stage.names["host_hostname"] if stage.agent.has_own_host
                              else stage.agent.about["hostname"])
    root = ["--rootfs", stage.root] if stage.at_least("02") else []
    look.runs["run"] = stage.run_words(
        [stage.program, *root, "--", *stage.probe("hello", "hostname")])
    look.answers = stage.answers(look.runs["run"]["stdout"])
    if not look.answers:
        look.problem = f"the container never ran the command: {tell_run(look.runs['run'])}"
    return look


def hostile_proc(stage: Stage) -> Look:
    """A root in which /proc is a link to a directory of the host."""
    look = look_of(stage)
    outside = f"{stage.folder}/outside"
    stage.agent.ask("remove", paths=[f"{stage.root}/proc"])
    stage.agent.make([{"kind": "link", "path": f"{stage.root}/proc", "text": outside}])
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"))
    look.facts["held"] = stage.expect(run, '"held":"waiting"')["found"]
    if look.facts["held"]:
        look.facts.update(stage.facts_of_probe(run))
    stage.agent.write(run["run"], "\n", close=True)
    stage.end(look, run, "run")
    return look


def namespaces_fail(stage: Stage) -> Look:
    return failing(stage, "clone,clone3,unshare")


# --- Observations ---------------------------------------------------------------------------------


def proc_is_mounted(look: Look) -> Seen:
    answer = look.answer("proc")
    if answer.get("fs") == PROC_MAGIC:
        return holds("a procfs is mounted there")
    if answer.get("ok"):
        return violated(f"a directory of another file system, of type {answer['fs']:#x}")
    if answer.get("errno") == "ENOENT":
        return violated("there is no such directory")
    raise ProbeBroke(str(answer))


def is_pid_1(look: Look) -> Seen:
    numbers = look.fact("status").get("NSpid", "").split()
    # The first is the number on the agent's host.
    if len(numbers) >= 2 and numbers[-1] == "1":
        return holds(f"NSpid is {' '.join(numbers)}")
    if len(numbers) >= 1:
        return violated(f"NSpid is {' '.join(numbers)}")
    raise ProbeBroke("there is no NSpid")


def host_processes_are_hidden(look: Look) -> Seen:
    answer = look.answer("host_processes")
    if not answer.get("ok") or answer.get("seen", 0) < 1:
        raise ProbeBroke(str(answer))
    if answer["found"] > 0:
        return violated(f"the probe found {look.names['victim']} in the /proc {answer['mounted']}")
    return holds(f"of {answer['seen']} processes none is {look.names['victim']}")


def host_processes_are_safe(look: Look) -> Seen:
    answer = look.answer("kill")
    if not look.fact("victim_lives"):
        return violated(f"process {look.names['victim_pid']} of the host was killed")
    if answer.get("errno") in ("ESRCH", "EPERM"):
        return holds(f"kill(2) returned {answer['errno']}, and the host's process lives")
    raise ProbeBroke(str(answer))


def hostname_is_own(look: Look) -> Seen:
    name = look.answer("hostname").get("name", "")
    if name == look.names["hostname"]:
        return holds(f"{name!r}: what --hostname said")
    if name:
        return violated(f"{name!r}, not {look.names['hostname']!r}, which --hostname said")
    raise ProbeBroke("the name is empty")


def hostname_is_not_the_hosts(look: Look) -> Seen:
    name, host = look.answer("hostname").get("name", ""), look.fact("hostname")
    if name == host:
        return violated(f"{name!r}, which is the host's")
    if name:
        return holds(f"{name!r}, and the host is called {host!r}")
    raise ProbeBroke("the name is empty")


def hosts_name_is_kept(look: Look) -> Seen:
    before, during = look.fact("hostname_before"), look.fact("hostname_during")
    if not before or not during:
        raise ProbeBroke(f"the host's name cannot be read: {before!r}, {during!r}")
    if before == during:
        return holds(f"the host is still called {before}")
    return violated(f"the host was called {before}, and is called {during} now")


def hosts_new_name_is_hidden(look: Look) -> Seen:
    own = look.answer("hostname").get("name", "")
    return text_is(look.answer("hostname_again").get("name", ""),
                   {own: "the name that it had, though the host has another now"},
                   {look.names["host_hostname"] + "-new": "the name that the host has taken"})


def hostname_change_stays_inside(look: Look) -> Seen:
    if look.answer("set_hostname").get("errno") == "EPERM":
        return holds("sethostname(2) said EPERM")
    if not look.answer("set_hostname").get("ok"):
        raise ProbeBroke(f"sethostname(2): {look.answer('set_hostname')}")
    return text_is(look.fact("after")["hostname"],
                   {look.fact("hostname"): "the host kept its name"},
                   {f"inside-{look.names['nonce']}": "the container renamed the host"})


def sysv_made_inside_stays_inside(look: Look) -> Seen:
    if not look.answer("make_sysv").get("ok"):
        raise ProbeBroke(f"msgget(2): {look.answer('make_sysv')}")
    if look.fact("after")["sysv"]:
        return violated("the host's /proc/sysvipc/msg lists the container's queue")
    return holds("the host's /proc/sysvipc/msg does not list it")


def queue_made_inside_stays_inside(look: Look) -> Seen:
    if not look.answer("make_queue").get("ok"):
        raise ProbeBroke(f"mq_open(3): {look.answer('make_queue')}")
    if look.fact("after")["queue"]:
        return violated("the host's /dev/mqueue lists the container's queue")
    return holds("the host's /dev/mqueue does not list it")


def mount_stays_inside(look: Look) -> Seen:
    answer = look.answer("mount")
    if answer.get("errno") == "EPERM":
        return holds("mount(2) said EPERM")
    if not answer.get("ok"):
        raise ProbeBroke(f"the probe could not mount: {answer}")
    lines = look.fact("after")["mounts"]
    if lines:
        return violated(f"the host has it too: {lines[0]}")
    return holds("the host's mountinfo does not list the probe's mount")


def host_mount_stays_outside(look: Look) -> Seen:
    answer = look.answer("host_mount")
    if answer.get("text") == f"mount-{look.names['nonce']}":
        return violated("the probe read a file of what the host mounted later")
    if answer.get("errno") == "ENOENT":
        return holds("what the host mounted later is not there")
    raise ProbeBroke(str(answer))


def mounts_are_private(look: Look) -> Seen:
    look.check_that_it_is_there("shared")
    mounts = look.fact("all_mounts")
    if not mounts:
        raise ProbeBroke("the mounts of its namespace cannot be read")
    tagged = [line for line in mounts.splitlines() if " shared:" in line or " master:" in line]
    if tagged:
        return violated(f"{len(tagged)} mounts propagate: {tagged[0]}")
    return holds(f"none of {len(mounts.splitlines())} mounts has shared: or master:")


def proc_stays_inside(look: Look) -> Seen:
    run = look.run("run")
    if not look.facts["held"]:
        return does_not_start(run)
    outside = look.names["secret"][:-len("secret")] + "outside"
    points = [line.split()[4] for line in (look.fact("all_mounts") or "").splitlines()]
    if outside in points:
        return violated(f"its mount namespace has a mount at {outside}")
    return holds(f"it started, and nothing is mounted at {outside}")


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "hostname": Ask("hostname", Turn.SELF),
    "host_processes": Ask("processes={victim},{in}/tmp/proc"),
    "proc": Ask("stat=/proc"),
    "sysv": Ask("sysv={sysv_key}"),
    "queue": Ask("queue=/{nonce}"),
    "hostname_again": Ask("hostname", Turn.LATE),
    "host_mount": Ask("read={in}/mnt/host/seen", Turn.LATE),
    "kill": Ask("kill={victim_pid},9", Turn.LATE),
    "make_sysv": Ask("make_sysv={own_sysv_key}", Turn.LATE),
    "make_queue": Ask("make_queue=/own-{nonce}", Turn.LATE),
    "mount": Ask("mount={in}/mnt/own", Turn.LATE),
    "set_hostname": Ask("set_hostname=inside-{nonce}", Turn.LATE),
}
