"""Stage 05: a user namespace, and who is root in it."""

from __future__ import annotations

from typing import Dict, List

from harness.properties.chroot import anybody
from harness.properties.inside import held_with, inside
from harness.properties.look import Ask, Look, tell_run
from harness.properties.model import SHELL, Control, Property
from harness.properties.namespaces_init import with_init
from harness.properties.observing import hidden, own_namespace, refused, text_is
from harness.properties.scene import STRANGER, Stage, look_of
from harness.properties.verdict import ROOT, USER, NotStarted, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="init_hides_the_hosts_program", since="05", scene=with_init,
            observe=inits_program_is_hidden,
            holds="with --init, /proc/1/exe cannot be followed", violated="it leads to the program",
            lesson="PID 1 runs a file of the host: a process that may follow /proc/1/exe has a way"
                   " out.",
            man="2 prctl", mistake="PID 1 is dumpable, so root inside may access its /proc files.",
            command="{stage} --rootfs {root} --init -- /bin/sh -c 'ls -lL /proc/1/exe'"),
        Property(
            name="no_root_needed", since="05", scene=anybody, observe=ran_with_status,
            identities=(USER,), control_identity=USER,
            needs=("exit_status_is_the_commands", "own_user_namespace"),
            holds="an ordinary user can start it", violated="it is refused",
            lesson="In a user namespace of their own, ordinary users may do what otherwise only"
                   " root may do.",
            man="7 user_namespaces",
            mistake="Something still requires root, or is done before the user namespace exists.",
            command="sudo -u nobody {stage} --rootfs {root} -- /bin/id"),
        Property(
            name="is_root_inside", since="05", scene=inside, observe=is_root_inside,
            control=Control.OTHER_SCENE, control_scene=without_container, control_identity=USER,
            holds="uid 0 and gid 0 inside", violated="another id",
            lesson="Programs that check for uid 0, such as package managers, run unchanged.",
            man="7 user_namespaces",
            mistake="The maps were written too late: ids without a map are 65534.",
            command=SHELL + " id"),
        Property(
            name="root_inside_has_capabilities", since="05", until="08b", scene=inside,
            observe=has_capabilities,
            control=Control.OTHER_SCENE, control_scene=without_container, control_identity=USER,
            holds="CapEff has what root needs inside", violated="CapEff is 0",
            lesson="The first process of a user namespace has all capabilities in it; exec(2)"
                   " keeps them only for uid 0.",
            man="7 capabilities", mistake="The command was executed before the maps made it uid 0.",
            command=SHELL + " 'grep CapEff /proc/self/status'"),
        Property(
            name="given_maps_are_used", since="05", scene=other_user, observe=maps_are_the_given,
            identities=(ROOT,),
            needs=("own_user_namespace",),
            holds="uid_map and gid_map are what the options say", violated="they are others",
            lesson="A range of ids gives a container users of its own.",
            man="7 user_namespaces", mistake="--uid-map is ignored, or its columns are swapped.",
            command="{stage} --rootfs {root} --uid-map 0:100000:10 -- /bin/cat /proc/self/uid_map"),
        Property(
            name="given_user_runs_the_command", since="05", scene=other_user,
            observe=command_runs_as_given_user, identities=(ROOT,),
            needs=("given_maps_are_used",),
            holds="on the host the command runs as the ids to which the maps translate --user",
            violated="it runs as another user",
            lesson="--user names an id inside; the host sees the one outside.",
            man="2 setresuid", mistake="--user is ignored, or the gid was changed after the uid.",
            command="{stage} --rootfs {root} --uid-map 0:100000:10 --gid-map 0:200000:10 -u 5:6 --"
                    " /bin/id"),
        Property(
            name="given_user_has_no_capabilities", since="05", scene=other_user,
            observe=has_no_capabilities, identities=(ROOT,), control=Control.OTHER_SCENE,
            control_scene=inside,
            needs=("given_user_runs_the_command",),
            holds="CapEff is 0 for a user that is not root inside", violated="it is not",
            lesson="exec(2) drops all capabilities of a process whose uid is not 0.",
            man="7 capabilities", mistake="The command runs as uid 0 nevertheless.",
            command="{stage} --rootfs {root} --uid-map 0:100000:10 --gid-map 0:200000:10 -u 5:6 --"
                    " /bin/grep CapEff /proc/self/status"),
        Property(
            name="own_user_namespace", since="05", scene=inside, observe=own_namespace("user"),
            holds="another user namespace than the host's", violated="the host's user namespace",
            lesson="A user namespace has ids and capabilities of its own.",
            man="7 user_namespaces", mistake="CLONE_NEWUSER is missing.",
            command=SHELL + " 'cat /proc/self/uid_map'"),
        Property(
            name="root_inside_is_caller_outside", since="05", scene=inside,
            observe=root_inside_is_caller_outside,
            needs=("own_user_namespace",),
            holds="uid_map maps 0 to the caller and no other uid; for root, to a range of ids that"
                  " no user has",
            violated="it maps more, or others",
            lesson="Root in the container is an ordinary user on the host.",
            man="7 user_namespaces",
            mistake="The map is missing, wide open, or its columns are swapped.",
            command=SHELL + " 'cat /proc/self/uid_map'"),
        Property(
            name="group_inside_is_callers_outside", since="05", scene=inside,
            observe=group_inside_is_callers_outside,
            needs=("own_user_namespace",),
            holds="gid_map maps 0 to the caller's group and to no other; for root, to a range of"
                  " its own",
            violated="it maps more",
            lesson="Groups have a map of their own.",
            man="7 user_namespaces", mistake="gid_map was not written.",
            command=SHELL + " 'cat /proc/self/gid_map'"),
        Property(
            name="setgroups_is_denied", since="05", scene=inside, observe=setgroups_is_denied,
            identities=(USER,),
            needs=("own_user_namespace",),
            holds="/proc/PID/setgroups is deny", violated="it is allow",
            lesson="Membership of a group can deny access: a user who drops the group in a"
                   " namespace of their own would gain it.",
            man="7 user_namespaces", mistake="setgroups(2) was not denied before gid_map was"
                                             " written.",
            command=SHELL + " 'cat /proc/self/setgroups'"),
        Property(
            name="files_belong_to_the_caller", since="05", scene=inside, asks=("mine",),
            observe=files_belong_to_the_caller, identities=(USER,),
            needs=("own_user_namespace",),
            holds="a file made by root inside belongs to the caller on the host",
            violated="it belongs to root of the host",
            lesson="The disk stores the id outside.",
            man="7 user_namespaces", mistake="No user namespace, or a map to another user.",
            command=SHELL + " 'touch /tmp/made'; ls -l {root}/tmp"),
        Property(
            name="hosts_files_keep_their_owner", since="05", scene=inside, asks=("chown",),
            observe=hosts_files_keep_their_owner,
            needs=("own_user_namespace",),
            holds="a file of another user of the host cannot be given away",
            violated="root inside becomes its owner",
            lesson="A capability applies only to objects whose ids are mapped.",
            man="7 user_namespaces", mistake="The container has its capabilities in the host's"
                                             " user namespace.",
            command=SHELL + " 'chown 0 /theirs'"),
        Property(
            name="hosts_permissions_hold", since="05", scene=inside, asks=("private",),
            observe=hidden("private", "private-{nonce}"),
            needs=("own_user_namespace",),
            holds="a private file of another user cannot be read", violated="root inside reads it",
            lesson="CAP_DAC_OVERRIDE, too, applies to mapped ids only.",
            man="7 capabilities", mistake="The container has its capabilities in the host's user"
                                          " namespace.",
            command=SHELL + " 'cat /private'"),
        Property(
            name="strangers_are_nobody", since="05", scene=inside, asks=("stranger",),
            observe=strangers_are_nobody,
            needs=("own_user_namespace",),
            holds="a user of the host without an id inside is 65534",
            violated="the uid of the host is seen",
            lesson="Ids that are not mapped are shown as the overflow id.",
            man="7 user_namespaces", mistake="All ids of the host are mapped.",
            command=SHELL + " 'ls -ln /theirs'"),
        Property(
            name="no_user_beyond_the_map", since="05", scene=inside, asks=("setuid",),
            observe=refused("setuid", "EINVAL", "EPERM"),
            needs=("own_user_namespace",),
            holds="setuid to an id that is not mapped is refused",
            violated="root inside becomes that user",
            lesson="A process cannot become a user whose id is not in the map.",
            man="2 setresuid", mistake="All ids of the host are mapped.",
            command=SHELL + " 'su -s /bin/sh stranger'"),
        Property(
            name="sysctls_cannot_be_opened", since="05", scene=inside, asks=("sysctl",),
            observe=refused("sysctl", "EROFS", "EACCES"), identities=(ROOT,),
            needs=("own_user_namespace",),
            holds="a file of /proc/sys cannot be opened for writing", violated="it can be",
            lesson="core_pattern names a program that the kernel runs as root of the host.",
            man="5 core",
            mistake="Root inside is the host's root, as with the map 0 0 1, and /proc/sys can be"
                    " written.",
            command=SHELL + " 'true >> /proc/sys/kernel/core_pattern'"),
        Property(
            name="no_device_nodes", since="05", scene=inside, asks=("mknod",),
            observe=no_device_nodes,
            needs=("own_user_namespace",),
            holds="mknod(2) of a device fails with EPERM", violated="there is a new device node",
            lesson="A process that can make a device node can read the host's disk, past all"
                   " permissions.",
            man="2 mknod", mistake="The container has CAP_MKNOD on the host.",
            command=SHELL + " 'mknod /tmp/disk b 8 0'"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def without_container(stage: Stage) -> Look:
    """A control: the probe, started by the same caller, without a container."""
    look = look_of(stage)
    stage.watch()
    run = stage.agent.start(["probe", stage.nonce, "hello", "hold=1"], program=stage.host_probe,
                            close_stdin=False, **stage.circumstances())
    if stage.wait_for_hold(look, run, "probe"):
        look.facts.update(stage.facts_of_probe(run))
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "probe")
    return look


def other_user(stage: Stage) -> Look:
    """Root maps ranges of ids, and lets another user run the command."""
    options = (["--uid-map", "0:100000:10", "--gid-map", "0:200000:10", "-u", "5:6"]
               if stage.at_least("05") else [])
    return held_with(stage, [], *options)


# --- Observations ---------------------------------------------------------------------------------


def root_inside_is_caller_outside(look: Look) -> Seen:
    uids = look.fact("status").get("Uid", "").split()
    uid_map = look.fact("uid_map")
    if uid_map == ["0", "0", "4294967295"]:
        return violated(f"uid_map is 0 0 4294967295: uid {uids[:1]} inside is the host's")
    good = maps_to_nobody_special(uid_map) if look.uid == 0 else \
        uid_map == ["0", str(look.uid), "1"]
    if good and uids == [uid_map[1]] * 4:
        return holds(f"uid_map is {' '.join(uid_map)}; for the host its uids are {uids}")
    if not uid_map and uids:
        return violated(f"uid_map is empty: no id of the host has one inside; its uids are {uids}")
    if uids:
        return violated(f"uid_map is {' '.join(uid_map)}; for the host its uids are {uids}")
    raise ProbeBroke(f"uid_map {uid_map}, Uid {uids}")


def maps_to_nobody_special(words: List[str]) -> bool:
    """Whether root's container has ids that no user of the host is likely to have."""
    ranges = [words[at:at + 3] for at in range(0, len(words), 3)]
    return bool(ranges) and ranges[0][0] == "0" and all(int(first) >= 100000
                                                        for _, first, _ in ranges)


def group_inside_is_callers_outside(look: Look) -> Seen:
    gid_map = look.fact("gid_map")
    good = maps_to_nobody_special(gid_map) if look.gid == 0 else \
        gid_map == ["0", str(look.gid), "1"]
    if good:
        return holds(f"gid_map is {' '.join(gid_map)}")
    return violated(f"gid_map is {' '.join(gid_map) or 'empty'}")


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
    # EOVERFLOW: on an idmapped mount, an id that is not mapped has no owner to become.
    if answer.get("ok"):  # of a copy in an overlay's upper layer; the layer below does not change
        return violated(f"chown(2) of a file of uid {STRANGER} worked, and gave a copy of it away")
    if owner == STRANGER and answer.get("errno") in ("EPERM", "EOVERFLOW"):
        return holds(f"chown(2) said {answer['errno']}; for the host its owner is still {STRANGER}")
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
    is_on_host = look.fact("after")["node"].get("rdev") == [1, 5]
    if not seen.holds and not is_on_host:  # in an overlay's upper layer it works nevertheless
        return violated(f"{seen.got}, in a layer that the host's directory does not show")
    return seen


def ran_with_status(look: Look) -> Seen:
    """Did the command run, as root or as an ordinary user?"""
    run = look.run("run")
    if look.answers.get("hello") and run.get("exit") == 37:
        return holds("the command ran, and its exit status 37 is the program's")
    if look.answers.get("hello"):
        return violated(f"the command ran, but its exit status 37 was lost: {tell_run(run)}")
    return violated(f"the command did not run: {tell_run(run)}")


def inits_program_is_hidden(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    answer = look.answers.get("stat=/proc/1/exe", [{}])[0]
    if answer.get("ok"):
        return violated("stat(2) follows it")
    if answer.get("errno") in ("EACCES", "EPERM", "ENOENT"):
        return holds(f"stat(2) says {answer['errno']}")
    raise ProbeBroke(str(answer))


def maps_are_the_given(look: Look) -> Seen:
    maps = look.fact("uid_map"), look.fact("gid_map")
    if maps == (["0", "100000", "10"], ["0", "200000", "10"]):
        return holds("uid_map is 0 100000 10, gid_map is 0 200000 10")
    told = [" ".join(words) or "empty" for words in maps]
    return violated(f"uid_map is {told[0]}, gid_map is {told[1]}")


def command_runs_as_given_user(look: Look) -> Seen:
    status = look.fact("status")
    ids = status.get("Uid", "").split(), status.get("Gid", "").split()
    if ids == (["100005"] * 4, ["200006"] * 4):
        return holds("on the host its uids are 100005, its gids 200006")
    if ids[0] and ids[1]:
        return violated(f"for the host its uids are {ids[0]}, its gids {ids[1]}")
    raise ProbeBroke("there is no Uid")


def has_no_capabilities(look: Look) -> Seen:
    capabilities = look.fact("status").get("CapEff", "")
    if not capabilities:
        raise ProbeBroke("there is no CapEff")
    if int(capabilities, 16) == 0:
        return holds("CapEff is 0")
    return violated(f"CapEff is {capabilities}")


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "mine": Ask("write={in}/tmp/made-{nonce}"),
    "stranger": Ask("stat={in}/theirs"),
    "private": Ask("read={in}/private"),
    "mknod": Ask("mknod={in}/tmp/node,1,5"),
    "chown": Ask("chown={in}/theirs,0"),
    "setuid": Ask("setuid={stranger}"),
    "sysctl": Ask("open_to_write=/proc/sys/kernel/core_pattern"),
}
