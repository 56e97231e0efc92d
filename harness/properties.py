"""The table: one row per isolation property.

A row says what is seen when the property holds and what is seen when it does not. Its `observe`
reads a Look (scenes.py) and answers with one of the two; anything else is a ProbeBroke, which is an
error and never a pass. What the host can see is read from the host.
"""

from __future__ import annotations

from typing import Dict, List

from harness.model import (ROOT, USER, Control, NotTestable, ProbeBroke, Property, Seen, holds,
                           violated)
from harness.scenes import (DEVPTS_MAGIC, PROC_MAGIC, STRANGER, SYSFS_MAGIC, TMPFS_MAGIC, Look,
                            tell_run)

# --- Observations that several rows share -------------------------------------------------------


def hidden(ask: str, secret: str):
    """Is the text that is proved to be on the host kept from the probe?"""
    def observe(look: Look) -> Seen:
        answer = look.answer(ask)
        wanted = secret.format_map(look.names)
        if answer.get("text") == wanted:
            return violated(f"the probe read {wanted!r}")
        if answer.get("errno") in ("ENOENT", "EACCES", "EPERM", "EBADF", "ENOTDIR", "ENXIO"):
            return holds(f"the probe got {answer['errno']}")
        raise ProbeBroke(f"neither the text {wanted!r} nor an error: {answer}")
    return observe


def refused(ask: str, *errors: str):
    """Is what the probe tried refused by the kernel?"""
    def observe(look: Look) -> Seen:
        answer = look.answer(ask)
        if answer.get("ok"):
            return violated("the kernel did it")
        if answer.get("errno") in errors:
            return holds(f"the kernel said {answer['errno']}")
        raise ProbeBroke(f"neither done nor one of {', '.join(errors)}: {answer}")
    return observe


def allowed(ask: str, *errors: str):
    """Did what the probe tried succeed?"""
    def observe(look: Look) -> Seen:
        answer = look.answer(ask)
        if answer.get("ok"):
            return holds("it worked")
        if answer.get("errno") in errors:
            return violated(f"the kernel said {answer['errno']}")
        raise ProbeBroke(f"neither done nor one of {', '.join(errors)}: {answer}")
    return observe


def own_namespace(kind: str):
    """Is the probe in another namespace than the host, as /proc/PID/ns says on the host?"""
    def observe(look: Look) -> Seen:
        inside = look.fact("namespaces")[kind]
        outside = look.fact("host_namespaces")[kind]
        if not inside or not outside:
            raise ProbeBroke(f"/proc/PID/ns/{kind} cannot be read: {inside}, {outside}")
        if inside == outside:
            return violated(f"both are in {inside}")
        return holds(f"{inside}, the host is in {outside}")
    return observe


def file_system(ask: str, magic: int, name: str):
    """Is a file system of this kind mounted there?"""
    def observe(look: Look) -> Seen:
        answer = look.answer(ask)
        if answer.get("fs") == magic:
            return holds(f"{name} is mounted")
        if answer.get("ok"):
            return violated(f"a directory of another file system, of type {answer['fs']:#x}")
        if answer.get("errno") == "ENOENT":
            return violated("there is no such directory")
        raise ProbeBroke(str(answer))
    return observe


def text_is(got: str, right: Dict[str, str], wrong: Dict[str, str]) -> Seen:
    """One of the texts that mean it holds, or one of those that mean it does not."""
    if got in right:
        return holds(f"{got!r}: {right[got]}")
    if got in wrong:
        return violated(f"{got!r}: {wrong[got]}")
    raise ProbeBroke(f"{got!r} is none of {sorted(right) + sorted(wrong)}")


# --- Observations of one row each ---------------------------------------------------------------


def descriptors_are_closed(look: Look) -> Seen:
    descriptors = look.fact("descriptors")
    if descriptors is None:
        raise ProbeBroke("/proc/PID/fd cannot be read")
    more = {fd: path for fd, path in descriptors.items() if fd not in ("0", "1", "2")}
    if more:
        return violated(f"it also has {more}")
    return holds(f"it has {', '.join(sorted(descriptors))}")


def host_variable_is_hidden(look: Look) -> Seen:
    secret = f"HOST_SECRET=secret-{look.names['nonce']}"
    environ = look.fact("environ")
    if not any(environ):
        raise ProbeBroke("/proc/PID/environ is empty")
    if secret in environ:
        return violated(f"{secret} is in its environment")
    return holds(f"its environment is {[word for word in environ if word]}")


def path_is_the_containers(look: Look) -> Seen:
    values = [word[5:] for word in look.fact("environ") if word.startswith("PATH=")]
    host = f"{look.names['secret'][:-len('/secret')]}/bin"
    if any(host in value.split(":") for value in values):
        return violated(f"PATH is the host's: {values[0]}")
    if len(values) == 1 and "/bin" in values[0].split(":"):
        return holds(f"PATH is {values[0]}")
    raise ProbeBroke(f"PATH is {values}")


def root_is_the_directory(look: Look) -> Seen:
    if look.fact("marker").get("text") == look.names["nonce"]:
        return holds("through /proc/PID/root the host finds the marker file of the new root")
    places = look.fact("places")
    if places["PROBE/root"].get("ino") == places["/"].get("ino"):
        return violated("/proc/PID/root is the host's root directory")
    raise ProbeBroke(f"/proc/PID/root is {look.fact('root')}: {places}")


def cwd_is_inside(look: Look) -> Seen:
    places = look.fact("places")

    def place(name: str):
        return places[name].get("dev"), places[name].get("ino")

    host = look.names["secret"][:-len("/secret")] + "/cwd"
    if place("PROBE/cwd") == place(host):
        return violated(f"its working directory is still the host's {host}")
    if place("PROBE/cwd") == place("PROBE/root"):
        if look.answer("cwd").get("path") == "/":
            return holds("/proc/PID/cwd is /proc/PID/root, and getcwd(2) says /")
        return violated(f"getcwd(2) says {look.answer('cwd')}")
    raise ProbeBroke(f"its working directory is {look.fact('cwd')}")


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
    if not look.fact("after")["victim_lives"]:
        return violated(f"process {look.names['victim_pid']} of the host was killed")
    if answer.get("errno") in ("ESRCH", "EPERM"):
        return holds(f"kill(2) said {answer['errno']}, and the host's process lives")
    raise ProbeBroke(str(answer))


def hostname_is_own(look: Look) -> Seen:
    return text_is(look.answer("hostname").get("name", ""),
                   {look.names["hostname"]: "what --hostname said"},
                   {look.names["host_hostname"]: "the host's name"})


def hosts_new_name_is_hidden(look: Look) -> Seen:
    if "hostname" not in look.fact("after"):
        raise NotTestable("the host's name must be changed for it")
    return text_is(look.answer("hostname_again").get("name", ""),
                   {look.names["hostname"]: "its own name, though the host has another now"},
                   {look.names["host_hostname"] + "-new": "the name that the host has taken"})


def hostname_change_stays_inside(look: Look) -> Seen:
    if not look.answer("set_hostname").get("ok"):
        raise ProbeBroke(f"sethostname(2): {look.answer('set_hostname')}")
    return text_is(look.fact("after")["hostname"],
                   {look.names["host_hostname"] + "-new": "the host kept its name"},
                   {f"inside-{look.names['nonce']}": "the container renamed the host"})


def sysv_made_inside_stays_inside(look: Look) -> Seen:
    if not look.answer("make_sysv").get("ok"):
        raise ProbeBroke(f"msgget(2): {look.answer('make_sysv')}")
    if look.fact("after")["sysv"]:
        return violated("the host's /proc/sysvipc/msg lists the container's queue")
    return holds("the host's /proc/sysvipc/msg does not list it")


def mount_stays_inside(look: Look) -> Seen:
    answer = look.answer("mount")
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
    mounts = look.fact("all_mounts")
    if not mounts:
        raise ProbeBroke("the mounts of its namespace cannot be read")
    tagged = [line for line in mounts.splitlines() if " shared:" in line or " master:" in line]
    if tagged:
        return violated(f"{len(tagged)} mounts propagate: {tagged[0]}")
    return holds(f"none of {len(mounts.splitlines())} mounts has shared: or master:")


def root_inside_is_caller_outside(look: Look) -> Seen:
    uids = look.fact("status").get("Uid", "").split()
    uid_map = look.fact("uid_map")
    if uid_map == ["0", "0", "4294967295"]:
        return violated(f"uid_map is 0 0 4294967295: uid {uids[:1]} inside is the host's")
    if uid_map == ["0", str(look.uid), "1"] and uids == [str(look.uid)] * 4:
        return holds(f"uid_map is {' '.join(uid_map)}; for the host its uids are {uids}")
    if uid_map and uids:
        return violated(f"uid_map is {' '.join(uid_map)}; for the host its uids are {uids}")
    raise ProbeBroke(f"uid_map {uid_map}, Uid {uids}")


def group_inside_is_callers_outside(look: Look) -> Seen:
    gid_map = look.fact("gid_map")
    if gid_map == ["0", str(look.uid), "1"]:
        return holds(f"gid_map is {' '.join(gid_map)}")
    if gid_map:
        return violated(f"gid_map is {' '.join(gid_map)}")
    raise ProbeBroke("gid_map is empty")


def is_root_inside(look: Look) -> Seen:
    answer = look.answer("hello")
    if (answer.get("uid"), answer.get("gid")) == (0, 0):
        return holds("uid 0, gid 0")
    if "uid" in answer:
        return violated(f"uid {answer['uid']}, gid {answer['gid']}")
    raise ProbeBroke(str(answer))


def setgroups_is_denied(look: Look) -> Seen:
    return text_is(look.fact("setgroups"), {"deny": "/proc/PID/setgroups on the host"},
                   {"allow": "/proc/PID/setgroups on the host"})


def has_capabilities(look: Look) -> Seen:
    capabilities = int(look.fact("status").get("CapEff", "") or "-1", 16)
    if capabilities == 0:
        return violated("CapEff is 0")
    # CAP_CHOWN, CAP_SYS_CHROOT and CAP_SYS_ADMIN, see linux/capability.h
    if all(capabilities >> bit & 1 for bit in (0, 18, 21)):
        return holds(f"CapEff is {capabilities:#x}")
    raise ProbeBroke(f"CapEff is {capabilities:#x}")


def hosts_files_keep_their_owner(look: Look) -> Seen:
    answer = look.answer("chown")
    owner = look.fact("after")["theirs"].get("uid")
    if owner == 0:
        return violated(f"chown(2) gave a file of uid {STRANGER} to root of the host")
    if owner == STRANGER and answer.get("errno") == "EPERM":
        return holds(f"chown(2) said EPERM; for the host its owner is still {STRANGER}")
    raise ProbeBroke(f"its owner is {owner}; {answer}")


def strangers_are_nobody(look: Look) -> Seen:
    return text_is(str(look.answer("stranger").get("uid")),
                   {"65534": f"what the host's {STRANGER} is inside"},
                   {str(STRANGER): "the host's uid"})


def files_belong_to_the_caller(look: Look) -> Seen:
    if not look.answer("mine").get("ok"):
        raise ProbeBroke(f"the probe could not make a file: {look.answer('mine')}")
    made = next(iter(look.fact("made").values()))
    if "uid" not in made:
        raise ProbeBroke(f"the host does not see the file: {made}")
    if made["uid"] == 0:
        return violated("root of the host owns it")
    if made["uid"] == look.uid:
        return holds(f"uid {made['uid']}, who started the container, owns it")
    raise ProbeBroke(f"uid {made['uid']} owns it")


def no_device_nodes(look: Look) -> Seen:
    seen = refused("mknod", "EPERM")(look)
    node = look.fact("after")["node"]
    if not seen.holds and node.get("rdev") != [1, 5]:
        raise ProbeBroke(f"the probe made a node that the host does not see: {node}")
    return seen


def old_root_is_gone(look: Look) -> Seen:
    mounts = look.fact("all_mounts")
    if not mounts:
        raise ProbeBroke("the mounts of its namespace cannot be read")
    # A mount of the host's that no container has: where the agent keeps its new /dev/mqueue.
    points = [line.split()[4] for line in mounts.splitlines()]
    root = look.names["root"]
    below = [line for line in mounts.splitlines() if line.split()[4] == f"{root}/mnt/mark"]
    if below:
        return violated(f"its mount namespace still has the host's: {below[0]}")
    if any(look.names["nonce"] in line for line in mounts.splitlines()
           if " tmpfs " in line and line.split()[4] != "/mnt/own"):
        return violated("its mount namespace still has the mount that the host had before")
    return holds(f"its mount namespace has {len(points)} mounts, none of them the host's mark")


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
    if (answer.get("major"), answer.get("minor")) == (1, 3) and answer["mode"] & 0o170000 == 0o020000:
        if look.answer("dev_null_write").get("ok"):
            return holds("device 1:3, and it can be written")
        return violated(f"device 1:3, but {look.answer('dev_null_write')}")
    if answer.get("errno") == "ENOENT" or answer.get("ok"):
        return violated(f"it is no device: {answer.get('errno') or oct(answer['mode'])}")
    raise ProbeBroke(str(answer))


def planted_device_is_dead(look: Look) -> Seen:
    answer = look.answer("planted")
    if answer.get("errno") == "EACCES":
        return holds("open(2) of a device node in the root says EACCES")
    if answer.get("ok"):
        return violated("the probe opened a device node that came with the root")
    raise ProbeBroke(str(answer))


def ended_with_its_status(look: Look) -> Seen:
    run = look.run("inside")
    if not look.answers:
        look.answer("hello")
    if run.get("exit") == 37:
        return holds("exit status 37")
    if run["over"] and run["why"] == "ended":
        return violated(tell_run({**run, "stdout": ""}))
    raise ProbeBroke(tell_run(run))


def arguments_are_kept(look: Look) -> Seen:
    words = look.answer("arguments").get("words")
    right = ["two words", "", "$HOME", "quote\"'", "*", "new\nline"]
    if words == right:
        return holds(f"{words}")
    if words is not None:
        return violated(f"{words}")
    raise ProbeBroke(str(look.answer("arguments")))


def stdin_arrives(look: Look) -> Seen:
    answers = look.answers.get("hold=1", [])
    if look.problem or not answers:
        look.answer("hello")
        raise ProbeBroke("the probe did not hold")
    if len(answers) < 2:
        return violated("the probe still waits for the line that was written to stdin")
    return text_is(answers[1]["line"], {f"line-{look.names['nonce']}": "what was written to stdin"},
                   {"": "end-of-file"})


# --- The table ----------------------------------------------------------------------------------

SHELL = "{stage} --rootfs {root} -- /bin/sh -c"

PROPERTIES: List[Property] = [
    Property(
        name="host_file_is_hidden", since="02", scene="inside", asks=("secret",),
        observe=hidden("secret", "secret-{nonce}"),
        holds="the file is not there", violated="the probe reads its text",
        lesson="A path is looked up from the process' root directory; what is not below it has no"
               " name.",
        man="2 chroot", mistake="The root directory was not changed.",
        command=SHELL + " 'cat /etc/hostname'"),
    Property(
        name="root_is_the_directory", since="02", scene="inside",
        observe=root_is_the_directory,
        holds="/proc/PID/root is the directory of --rootfs",
        violated="/proc/PID/root is the host's root",
        lesson="The root directory is a property of a process; the host reads it in /proc/PID/root.",
        man="5 proc", mistake="The command was started before the root was changed.",
        command=SHELL + " 'ls /'"),
    Property(
        name="cwd_is_inside", since="02", scene="inside", asks=("cwd",),
        observe=cwd_is_inside,
        holds="the working directory is the new root",
        violated="the working directory is where the host was",
        lesson="chroot(2) does not touch the working directory: left outside, it is a way out.",
        man="2 chroot", mistake="No chdir(2) into the new root.",
        command=SHELL + " 'pwd; ls'"),
    Property(
        name="dotdot_stops_at_the_root", since="02", scene="inside", asks=("secret_up",),
        observe=hidden("secret_up", "secret-{nonce}"),
        holds="'..' from the working directory does not lead out",
        violated="'..' leads to the host's file",
        lesson="The kernel stops '..' at the root directory, but only for who comes past it.",
        man="7 path_resolution", mistake="The working directory is outside of the root.",
        command=SHELL + " 'ls ../../../../../..'"),
    Property(
        name="absolute_link_stays_inside", since="02", scene="inside", asks=("secret_by_link",),
        observe=hidden("secret_by_link", "secret-{nonce}"),
        holds="a link to an absolute path of the host leads nowhere",
        violated="the link leads to the host's file",
        lesson="An absolute link is looked up from the root of who follows it, not of who made it.",
        man="7 symlink", mistake="The link was followed before the root was changed.",
        command=SHELL + " 'cat /link'"),
    Property(
        name="host_variable_is_hidden", since="02", scene="inside",
        observe=host_variable_is_hidden,
        holds="the host's variables are not in the environment",
        violated="a variable of the host's is in the environment",
        lesson="exec(2) hands on the whole environment unless told otherwise; tokens are kept there.",
        man="7 environ", mistake="The caller's environment was passed on.",
        command="env SECRET=1 " + SHELL + " env"),
    Property(
        name="path_is_the_containers", since="02", scene="inside",
        observe=path_is_the_containers,
        holds="PATH names folders of the container",
        violated="PATH names folders of the host",
        lesson="The host's PATH names folders that are not in the new root.",
        man="7 environ", mistake="PATH was not set for the new root.",
        command=SHELL + " 'echo $PATH'"),

    Property(
        name="own_pid_namespace", since="04", scene="inside", observe=own_namespace("pid"),
        holds="another PID namespace than the host's", violated="the host's PID namespace",
        lesson="A PID namespace has process numbers of its own.",
        man="7 pid_namespaces",
        mistake="unshare(CLONE_NEWPID) moves only the children of its caller, not the caller.",
        command=SHELL + " 'echo $$'"),
    Property(
        name="own_mount_namespace", since="04", scene="inside", observe=own_namespace("mnt"),
        holds="another mount namespace than the host's", violated="the host's mount namespace",
        lesson="A mount namespace has a list of mounts of its own.",
        man="7 mount_namespaces", mistake="CLONE_NEWNS is missing.",
        command=SHELL + " 'mount -t tmpfs x /mnt'; grep /mnt /proc/mounts"),
    Property(
        name="own_uts_namespace", since="04", scene="inside", observe=own_namespace("uts"),
        holds="another UTS namespace than the host's", violated="the host's UTS namespace",
        lesson="A UTS namespace has a host name of its own.",
        man="7 uts_namespaces", mistake="CLONE_NEWUTS is missing.",
        command=SHELL + " 'hostname inside'; hostname"),
    Property(
        name="own_ipc_namespace", since="04", scene="inside", observe=own_namespace("ipc"),
        holds="another IPC namespace than the host's", violated="the host's IPC namespace",
        lesson="System V IPC and POSIX queues have no paths: no root directory hides them.",
        man="7 ipc_namespaces", mistake="CLONE_NEWIPC is missing.",
        command="ipcmk -Q; " + SHELL + " 'ipcs -q'"),
    Property(
        name="command_is_pid_1", since="04", scene="inside", observe=is_pid_1,
        holds="the last number of NSpid is 1", violated="NSpid has no number 1 inside",
        lesson="The first process of a PID namespace is its init: with it all others end.",
        man="7 pid_namespaces", mistake="The command was forked once more than needed, or not born"
        " in the namespace.",
        command=SHELL + " 'echo $$'"),
    Property(
        name="proc_is_mounted", since="04", scene="inside", asks=("proc",),
        observe=file_system("proc", PROC_MAGIC, "procfs"),
        holds="/proc is a procfs", violated="/proc is an ordinary directory",
        lesson="ps(1) and many others read /proc; an empty one breaks them.",
        man="5 proc", mistake="No procfs was mounted in the new root.",
        command=SHELL + " 'ps'"),
    Property(
        name="host_processes_are_hidden", since="04", scene="inside", asks=("host_processes",),
        observe=host_processes_are_hidden,
        holds="a process of the host is not in /proc", violated="a process of the host is in /proc",
        lesson="A procfs shows the PID namespace of who mounted it.",
        man="7 pid_namespaces",
        mistake="/proc was mounted by a process of the host's PID namespace, or is the host's.",
        command=SHELL + " 'ps'"),
    Property(
        name="host_processes_are_safe", since="04", scene="inside", asks=("kill",),
        observe=host_processes_are_safe,
        holds="a process of the host cannot be signalled", violated="a process of the host is killed",
        lesson="What has no number in one's PID namespace cannot be signalled.",
        man="2 kill", mistake="The container shares the host's PID namespace.",
        command="sleep 100 & " + SHELL + " \"kill -9 $!\""),
    Property(
        name="hostname_is_own", since="04", scene="inside", asks=("hostname",),
        observe=hostname_is_own,
        holds="the name that --hostname gave", violated="the host's name",
        lesson="A container is told apart by its name, in prompts and in logs.",
        man="7 uts_namespaces", mistake="--hostname is not set in the new UTS namespace.",
        command="{stage} --rootfs {root} --hostname box -- /bin/hostname"),
    Property(
        name="hosts_new_name_is_hidden", since="04", scene="inside", asks=("hostname_again",),
        observe=hosts_new_name_is_hidden,
        holds="still its own name when the host changes its name",
        violated="the host's new name",
        lesson="The two names have nothing to do with each other.",
        man="7 uts_namespaces", mistake="CLONE_NEWUTS is missing.",
        command=SHELL + " 'sleep 5; hostname' & hostname other"),
    Property(
        name="hostname_change_stays_inside", since="04", scene="inside", asks=("set_hostname",),
        observe=hostname_change_stays_inside,
        holds="the host keeps its name when the container changes its own",
        violated="the host has the container's name",
        lesson="Whoever is root in a container may set its name: it must not be the host's.",
        man="2 sethostname", mistake="The name was set before the UTS namespace was made, or there is"
        " none.",
        command=SHELL + " 'hostname other'; hostname"),
    Property(
        name="sysv_ipc_is_hidden", since="04", scene="inside", asks=("sysv",),
        observe=refused("sysv", "ENOENT"),
        holds="a message queue of the host is not found", violated="the host's queue is found",
        lesson="System V IPC is found by a number, not by a path.",
        man="7 sysvipc", mistake="CLONE_NEWIPC is missing.",
        command="ipcmk -Q; " + SHELL + " 'ipcs -q'"),
    Property(
        name="sysv_ipc_stays_inside", since="04", scene="inside", asks=("make_sysv",),
        observe=sysv_made_inside_stays_inside,
        holds="the host does not list the container's queue", violated="the host lists it",
        lesson="With its namespace go all of its queues: nothing is left on the host.",
        man="7 ipc_namespaces", mistake="CLONE_NEWIPC is missing.",
        command=SHELL + " 'ipcmk -Q'; ipcs -q"),
    Property(
        name="posix_queue_is_hidden", since="04", scene="inside", asks=("queue",),
        observe=refused("queue", "ENOENT"),
        holds="a POSIX queue of the host is not found", violated="the host's queue is found",
        lesson="POSIX queues belong to the IPC namespace too, though they look like files.",
        man="7 mq_overview", mistake="CLONE_NEWIPC is missing.",
        command=SHELL + " 'ls /dev/mqueue'"),
    Property(
        name="mount_stays_inside", since="04", scene="inside", asks=("mount",),
        observe=mount_stays_inside,
        holds="the host does not see what the container mounts", violated="the host sees it",
        lesson="A new mount namespace is a copy whose mounts are peers of the originals: what is"
               " mounted in one appears in the other, unless they are made private.",
        man="7 mount_namespaces", mistake="Mount propagation was left on.",
        command=SHELL + " 'mount -t tmpfs x /mnt'; grep x /proc/mounts"),
    Property(
        name="host_mount_stays_outside", since="04", scene="inside", asks=("host_mount",),
        observe=host_mount_stays_outside, identities=(ROOT, USER),
        holds="what the host mounts later does not appear", violated="it appears in the container",
        lesson="Propagation works in both directions; MS_SLAVE stops only one of them.",
        man="7 mount_namespaces", mistake="The mounts are slaves or shared, not private.",
        command=SHELL + " 'sleep 5; ls /mnt' & mount -t tmpfs x {root}/mnt"),
    Property(
        name="mounts_are_private", since="04", scene="inside", observe=mounts_are_private,
        holds="no mount of the namespace is shared or a slave", violated="some are",
        lesson="/proc/PID/mountinfo tells of each mount whether it propagates.",
        man="7 mount_namespaces", mistake="Not all mounts were made private: MS_REC is needed.",
        command=SHELL + " 'grep -E \"shared|master\" /proc/self/mountinfo'"),

    Property(
        name="own_user_namespace", since="05", scene="inside", observe=own_namespace("user"),
        holds="another user namespace than the host's", violated="the host's user namespace",
        lesson="A user namespace has ids and capabilities of its own.",
        man="7 user_namespaces", mistake="CLONE_NEWUSER is missing.",
        command=SHELL + " 'cat /proc/self/uid_map'"),
    Property(
        name="root_inside_is_caller_outside", since="05", scene="inside",
        observe=root_inside_is_caller_outside,
        holds="uid_map maps 0 to the caller, and to nobody else", violated="it maps more, or others",
        lesson="Root in the container is nobody special on the host.",
        man="7 user_namespaces", mistake="The map is missing, wide open, or its columns are swapped.",
        command=SHELL + " 'cat /proc/self/uid_map'"),
    Property(
        name="group_inside_is_callers_outside", since="05", scene="inside",
        observe=group_inside_is_callers_outside,
        holds="gid_map maps 0 to the caller's group, and to no other", violated="it maps more",
        lesson="Groups are mapped apart from users.",
        man="7 user_namespaces", mistake="gid_map was not written.",
        command=SHELL + " 'cat /proc/self/gid_map'"),
    Property(
        name="setgroups_is_denied", since="05", scene="inside", observe=setgroups_is_denied,
        holds="/proc/PID/setgroups is deny", violated="it is allow",
        lesson="A group can be a denial; who could drop it in a namespace of his own would get in.",
        man="7 user_namespaces", mistake="setgroups was left open before gid_map was written.",
        command=SHELL + " 'cat /proc/self/setgroups'"),
    Property(
        name="files_belong_to_the_caller", since="05", scene="inside", asks=("mine",),
        observe=files_belong_to_the_caller, identities=(USER,),
        holds="a file made by root inside belongs to the caller on the host",
        violated="it belongs to root of the host",
        lesson="What is on the disk is the id outside.",
        man="7 user_namespaces", mistake="No user namespace, or a map to somebody else.",
        command=SHELL + " 'touch /tmp/made'; ls -l {root}/tmp"),
    Property(
        name="hosts_files_keep_their_owner", since="05", scene="inside", asks=("chown",),
        observe=hosts_files_keep_their_owner,
        holds="a file of another user of the host cannot be given away",
        violated="root inside gives it to himself",
        lesson="A capability counts for the objects whose ids are mapped, and for no others.",
        man="7 user_namespaces", mistake="The container's capabilities are the host's.",
        command=SHELL + " 'chown 0 /theirs'"),
    Property(
        name="hosts_permissions_hold", since="05", scene="inside", asks=("private",),
        observe=hidden("private", "private-{nonce}"),
        holds="a private file of another user cannot be read", violated="root inside reads it",
        lesson="CAP_DAC_OVERRIDE, too, counts for mapped ids only.",
        man="7 capabilities", mistake="The container's capabilities are the host's.",
        command=SHELL + " 'cat /private'"),
    Property(
        name="strangers_are_nobody", since="05", scene="inside", asks=("stranger",),
        observe=strangers_are_nobody,
        holds="a user of the host without an id inside is 65534", violated="his uid is seen",
        lesson="Ids that are not mapped are shown as the overflow id.",
        man="7 user_namespaces", mistake="All ids of the host are mapped.",
        command=SHELL + " 'ls -ln /theirs'"),
    Property(
        name="no_user_beyond_the_map", since="05", scene="inside", asks=("setuid",),
        observe=refused("setuid", "EINVAL", "EPERM"),
        holds="setuid to an id that is not mapped is refused", violated="root inside becomes him",
        lesson="There is no way to become whom the map does not name.",
        man="2 setresuid", mistake="All ids of the host are mapped.",
        command=SHELL + " 'su -s /bin/sh stranger'"),
    Property(
        name="no_device_nodes", since="05", scene="inside", asks=("mknod",),
        observe=no_device_nodes,
        holds="mknod(2) of a device says EPERM", violated="there is a new device node",
        lesson="Who can make a device node can read the host's disk, past all permissions.",
        man="2 mknod", mistake="The container has CAP_MKNOD on the host.",
        command=SHELL + " 'mknod /tmp/disk b 8 0'"),
]

BY_NAME: Dict[str, Property] = {row.name: row for row in PROPERTIES}
