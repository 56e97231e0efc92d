"""Stage 05: keys, users and files that are the host's, or the container's own."""

from __future__ import annotations

from typing import Dict, List, Sequence

from harness.properties.inside import held_with, inside, started_by
from harness.properties.look import Ask, Look, Turn, never_ran, tell_run
from harness.properties.model import SHELL, Control, Positive, Property
from harness.properties.observing import does_not_start, mount_options
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import (ROOT, NotStarted, NotTestable, ProbeBroke, Seen, holds,
                                        violated)


def rows() -> List[Property]:
    return [
        Property(
            name="callers_keys_are_hidden", since="05", scene=key_in_session,
            observe=key_is_hidden,
            holds="a key of the caller's session is not found inside", violated="its text is read",
            lesson="No namespace separates keyrings: a process has the keys of its session,"
                   " whatever its ids are.",
            man="7 session-keyring", mistake="The session keyring is the caller's.",
            command="keyctl add user k secret @s; " + SHELL + " 'keyctl print %user:k'"),
        Property(
            name="users_come_from_the_root", since="05", scene=users_of_the_host,
            identities=(ROOT,), observe=user_is_unknown, control=Control.OTHER_SCENE,
            control_scene=users_of_the_root,
            holds="--user NAME finds no name in a file of the host, whatever the root's"
                  " /etc/passwd is a link to",
            violated="the command runs as a user of the host's file",
            lesson="The container's /etc/passwd names the users inside. If it is a link, the author"
                   " of the root decides where it leads.",
            man="5 passwd", mistake="/etc/passwd of the root is opened by its path, from outside,"
                                    " or while descriptors of the host are open.",
            command="ln -sf /proc/self/fd/3/etc/passwd {root}/etc/passwd; {stage} --rootfs {root}"
                    " --uid-map 0:100000:10 -u NAME -- /bin/id 3</"),
        Property(
            name="user_forms_are_understood", since="05", scene=each_form_of_user,
            identities=(ROOT,), observe=each_form_is_that_user, control=Control.NONE,
            seen_failing="the mutants group_of_another_field and member_by_prefix",
            needs=("given_user_runs_the_command",),
            holds="--user takes UID, UID:GID, NAME, NAME:GROUP as docker run does, with the groups"
                  " of the root's /etc/group",
            violated="one of them is another user, or has other groups",
            lesson="A name stands for a uid, a primary group and supplementary groups; all of"
                   " them decide what the command may read.",
            man="5 group", mistake="The primary group is a field of passwd, the others are lines of"
                                   " group.",
            command="{stage} --rootfs {root} --uid-map 0:100000:5000 --gid-map 0:200000:5000"
                    " -u NAME -- /bin/id"),
        Property(
            name="fifo_for_users_ends", since="05", scene=users_in_a_fifo, identities=(ROOT,),
            observe=does_not_wait, earned_by=Positive(users_of_the_root),
            control=Control.NONE, seen_failing="the mutant fifo_is_waited_for",
            holds="with a FIFO as the root's /etc/passwd, --user NAME ends with a message",
            violated="the program waits for ever",
            lesson="open(2) of a FIFO waits for a writer. An image's author can make any file one.",
            man="7 fifo", mistake="A file of the root was opened without O_NONBLOCK, or was read"
                                  " although it is not a regular file.",
            command="mkfifo {root}/etc/passwd; {stage} --rootfs {root} -u NAME -- /bin/id"),
        Property(
            name="roots_files_are_roots_inside", since="05", scene=inside, identities=(ROOT,),
            asks=("marker",), observe=marker_is_roots, control=Control.NONE,
            seen_failing="the mutant root_not_idmapped",
            holds="a file of the root file system that is root's on the disk is root's inside",
            violated="its owner is not mapped",
            lesson="With a range of ids, root's files on the disk belong to nobody inside, unless"
                   " an idmapped mount shows them with other owners.",
            man="2 mount_setattr", mistake="The ids were mapped, and the mount was not.",
            command=SHELL + " 'ls -ln /'"),
        Property(
            name="made_files_are_roots_on_the_disk", since="05", until="08a", scene=inside,
            identities=(ROOT,), asks=("mine",), observe=made_file_is_roots,
            control=Control.NONE, seen_failing="the mutant root_not_idmapped",
            holds="what root inside makes in the root file system is root's on the disk",
            violated="it belongs to an id of the range",
            lesson="An idmapped mount maps in both directions, so the same tree works later with"
                   " another range, or without one.",
            man="2 mount_setattr", mistake="The ids were mapped, and the mount was not.",
            command=SHELL + " 'touch /tmp/made'; ls -ln {root}/tmp"),
        Property(
            name="hosts_root_keeps_its_limits", since="05", scene=signals_queued,
            identities=(ROOT,), observe=limit_is_not_shared,
            needs=("own_user_namespace",),
            holds="what the container uses up of a limit per user is not charged to the host's"
                  " root",
            violated="it is: the host's root can do that much less",
            lesson="Whatever a user namespace uses of the limits per user (pending signals, inotify"
                   " instances, namespaces) is charged to its owner, too: to the effective uid of"
                   " the process that made it.",
            man="7 user_namespaces",
            mistake="Root makes the user namespace, and so is its owner.",
            command="{stage} --rootfs {root} -- PROGRAM-THAT-QUEUES-SIGNALS; grep SigQ"
                    " /proc/self/status"),
        Property(
            name="hosts_mount_flags_are_locked", since="05", scene=mount_with_flags,
            observe=flags_are_kept, control_identity=ROOT,
            holds="what is mounted ro,nosuid,nodev,noexec on the host stays so: below the root, and"
                  " as a volume",
            violated="root inside clears a flag of the mount",
            lesson="Read-only belongs to a mount, and its owner may change it. In a mount namespace"
                   " that belongs to another user namespace the kernel locks the flags of the"
                   " mounts that were copied into it, but not those of a mount that the host's"
                   " root has copied outside and passed in.",
            man="7 mount_namespaces",
            mistake="The parent copies the mount, as root of the host in its own mount namespace,"
                    " in place of that of the child.",
            command="mount --bind -o ro /srv {root}/mnt; " + SHELL + " 'mount -o remount,bind,rw"
                    " /mnt; grep /mnt /proc/self/mountinfo'"),
        Property(
            name="unmapped_root_is_nobody_special", since="05", scene=map_without_root,
            identities=(ROOT,), observe=is_not_the_hosts_root, control_identity=ROOT,
            earned_by=Positive(map_with_root),
            holds="with maps that have no 0, root's command does not run as the host's root",
            violated="for the host, its uid or gid is 0",
            lesson="A process keeps its ids in a new user namespace until it changes them. Ids that"
                   " are not mapped are shown as 65534, and are still those of the host: files of"
                   " /proc/sys can be written by their owner.",
            man="7 user_namespaces",
            mistake="The child becomes uid 0 of the namespace if there is one, and otherwise goes"
                    " on as it is.",
            command="{stage} --rootfs {root} --uid-map 5:100005:10 --gid-map 5:200005:10 --"
                    " /bin/grep -E '^(U|G)id' /proc/self/status"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------

RANGES = ("--uid-map", "0:100000:10", "--gid-map", "0:200000:10")


def key_in_session(stage: Stage) -> Look:
    """The caller's session has a key, which a probe on the host reads first."""
    done = stage.agent.run(["probe", stage.nonce, f"session_key=k-{stage.nonce},{stage.nonce}",
                            f"key=k-{stage.nonce}"], program=stage.host_probe,
                           **stage.circumstances())
    if stage.answers(done["stdout"]).get(f"key=k-{stage.nonce}", [{}])[0].get("text") is None:
        raise NotTestable("this kernel, or what the harness runs in, has no keyrings")
    return started_by(stage, f"session_key=k-{stage.nonce},{stage.nonce}", f"key=k-{stage.nonce}")


def user_named(stage: Stage, targets: Sequence[str]) -> Look:
    """-u NAME, where /etc/passwd of the root is a link to each of `targets`."""
    look = look_of(stage)
    name, passwd = f"user-{stage.nonce[:6]}", f"{stage.root}/etc/passwd"
    line = f"root:x:0:0::/:/bin/sh\n{name}:x:5:6::/:/bin/sh\n"
    stage.agent.make([{"path": f"{folder}/users", "text": line, "mode": 0o644}
                      for folder in (f"{stage.folder}/outside", f"{stage.root}/etc")])
    files = [{"fd": fd, "path": "/"} for fd in (3, 5, 8)]
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "exit=37"), *RANGES, "-u", "5:6")
    for number, target in enumerate(targets):
        stage.agent.ask("remove", paths=[passwd])
        stage.agent.make([{"kind": "link", "path": passwd, "text": target}])
        run = stage.run(stage.probe("hello", "exit=37"), *RANGES, "-u", name, files=files)
        look.runs[f"run{number}"] = run
    look.facts["users"] = {name: [answer["uid"] for answer in
                                  stage.answers(run["stdout"]).get("hello", [])]
                           for name, run in look.runs.items()}
    return look


def users_of_the_host(stage: Stage) -> Look:
    """A name that only a file of the host has."""
    path = f"{stage.folder}/outside/users"
    return user_named(stage, [path, "../" * 12 + path[1:],
                              *(f"/proc/self/fd/{fd}{path}" for fd in range(3, 10))])


def users_of_the_root(stage: Stage) -> Look:
    """A name that the root's own file has."""
    return user_named(stage, ["users"])


QUEUED = 500


def signals_queued(stage: Stage) -> Look:
    """Many signals are pending for the probe, which are counted per user: SigQ in proc(5)."""
    before = stage.status_of("self")
    look = held_with(stage, [f"queue_signals={QUEUED}"])
    look.facts["status_before"] = before
    return look


FLAGS = ("ro", "nosuid", "nodev", "noexec")
# Where a filter or missing capabilities would forbid mount(2), nothing would be seen of the mounts.
MAY_MOUNT = ("--cap-add", "SYS_ADMIN", "--seccomp", "unconfined")


def mount_with_flags(stage: Stage) -> Look:
    """The host has restricted a mount below the root, which is also shown as a volume. Root inside
    clears the flags."""
    if not stage.agent.has_own_host:
        raise NotTestable("needs root on the host: something must be mounted")
    # An overlay does not show what is mounted in its layers.
    place = f"{stage.folder}/outside" if stage.at_least("08a") else f"{stage.root}/mnt/host"
    flags = ",".join(FLAGS)
    stage.busybox("mount", "--bind", f"{stage.folder}/volume", place)
    stage.busybox("mount", "-o", f"remount,bind,{flags}", place)
    points, options = [f"{stage.names['in']}/mnt/host"], []
    if stage.at_least("06"):
        points.append("/mnt/own")
        options += ["-v", f"{place}:/mnt/own"]
        if stage.identity == ROOT:
            points.append("/mnt/own-idmap")
            options += ["-v", f"{place}:/mnt/own-idmap:idmap"]
    if stage.at_least("08b"):
        options += MAY_MOUNT
    look = held_with(stage, [f"clear_mount_flags={point}" for point in points], *options)
    look.facts["points"] = points
    if not stage.at_least("04"):  # without a mount namespace it is the host's mount
        stage.busybox("mount", "-o", f"remount,bind,{flags}", place)
    return look


def map_without_root(stage: Stage) -> Look:
    """Uid 0 and gid 0 do not exist inside."""
    options = ["--uid-map", "5:100005:10", "--gid-map", "5:200005:10"]
    return held_with(stage, [], *(options if stage.at_least("05") else []))


def map_with_root(stage: Stage) -> Look:
    """The same, but they exist."""
    return held_with(stage, [], *RANGES)


def users_in_a_fifo(stage: Stage) -> Look:
    """-u NAME, where /etc/passwd of the root is a FIFO that nobody writes to."""
    look = look_of(stage)
    passwd = f"{stage.root}/etc/passwd"
    stage.agent.ask("remove", paths=[passwd])
    stage.agent.make([{"kind": "fifo", "path": passwd, "mode": 0o644}])
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "exit=37"), *RANGES, "-u", "alice")
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


# What --user says -> uid, gid and supplementary groups inside, as docker-run(1) has them.
FORMS = {
    "1000": (1000, 1001, [50, 60]),
    "1000:70": (1000, 70, []),
    "4242": (4242, 0, []),
    "4242:4343": (4242, 4343, []),
    "alice": (1000, 1001, [50, 60]),
    "alice:staff": (1000, 50, []),
    "alice:70": (1000, 70, []),
}


def each_form_of_user(stage: Stage) -> Look:
    look = look_of(stage)
    stage.agent.make([
        {"path": f"{stage.root}/etc/passwd", "mode": 0o644,
         "text": "root:x:0:0::/:/bin/sh\nalice:x:1000:1001::/:/bin/sh\n"},
        {"path": f"{stage.root}/etc/group", "mode": 0o644,
         "text": "root:x:0:\nstaff:x:50:bob,alice\nusers:x:60:alice\nbobs:x:61:bob,alicex\n"}])
    stage.watch()
    look.facts["ids"] = {}
    for form in FORMS:
        run = stage.start(stage.probe("hello", "hold=1", "exit=37"), "--uid-map", "0:100000:5000",
                          "--gid-map", "0:200000:5000", "--user", form)
        if not stage.wait_for_hold(look, run, "run"):
            return look
        status = stage.facts_of_probe(run)["status"]
        groups = [int(group) - 200000 for group in status["Groups"].split()]
        gid = int(status["Gid"].split()[0]) - 200000
        look.facts["ids"][form] = (int(status["Uid"].split()[0]) - 100000, gid,
                                   sorted(set(groups) - {gid}))
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


# --- Observations ---------------------------------------------------------------------------------


def key_is_hidden(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    answer = look.answers.get(f"key=k-{look.names['nonce']}", [{}])[0]
    if answer.get("text") == look.names["nonce"]:
        return violated("the probe read the key of the caller's session")
    if answer.get("errno") in ("ENOKEY", "EACCES", "EPERM", "ENOSYS"):
        return holds(f"keyctl(2) said {answer['errno']}")
    raise ProbeBroke(str(answer))


def user_is_unknown(look: Look) -> Seen:
    if look.run("run").get("exit") != 37:
        raise never_ran(look.run("run"))
    users = {name: uids for name, uids in look.fact("users").items() if name != "run"}
    found = [name for name, uids in users.items() if 5 in uids]
    if found:
        return violated(f"in {len(found)} of {len(users)} starts the command runs as uid 5")
    return holds(f"it starts in none of {len(users)}: {tell_run(look.run('run0'))}")


def limit_is_not_shared(look: Look) -> Seen:
    def pending(fact: str) -> int:
        return int(look.fact(fact).get("SigQ", "").partition("/")[0] or -1)
    before, meanwhile, of_probe = map(pending, ("status_before", "host_status", "status"))
    told = f"the probe's user has {of_probe} pending signals, the host's root {meanwhile}"
    if before < 0 or of_probe < QUEUED:
        raise ProbeBroke(told)
    if meanwhile - before >= QUEUED // 2:
        return violated(told)
    return holds(told)


def flags_are_kept(look: Look) -> Seen:
    shown = {point: mount_options(look, point) for point in look.fact("points")}
    told = "; ".join(f"{point} is {','.join(options)}" for point, options in shown.items()
                     if options)
    if not told:
        raise NotStarted(f"none of {list(shown)} is mounted where the command is")
    for point, options in shown.items():
        tried = look.answers.get(f"clear_mount_flags={point}", [{}])[0]
        if options and not tried:
            raise ProbeBroke(f"nothing was tried at {point}")
        if options and not set(FLAGS) <= set(options):
            return violated(told)
    return holds(told)


def is_not_the_hosts_root(look: Look) -> Seen:
    if not look.facts.get("status"):
        return does_not_start(look.run("run"))
    ids = [look.fact("status").get(key, "").split() for key in ("Uid", "Gid")]
    if not all(ids):
        raise ProbeBroke(f"Uid and Gid: {ids}")
    told = f"for the host its uids are {ids[0]}, its gids {ids[1]}"
    return violated(told) if "0" in ids[0] + ids[1] else holds(told)


def each_form_is_that_user(look: Look) -> Seen:
    ids = look.fact("ids")
    if len(ids) < len(FORMS):
        raise never_ran(look.run("run"))
    wrong = [f"--user {form}: uid {uid}, gid {gid}, groups {groups}"
             for form, (uid, gid, groups) in ids.items() if (uid, gid, groups) != FORMS[form]]
    return violated("; ".join(wrong)) if wrong else holds(f"{len(ids)} forms are those users")


def does_not_wait(look: Look) -> Seen:
    if look.answers.get("hello"):
        return violated("the command runs, as a user whom no file names")
    return does_not_start(look.run("run"))


def marker_is_roots(look: Look) -> Seen:
    answer = look.answer("marker")
    if answer.get("uid") == 0:
        return holds("its owner inside is 0")
    if "uid" in answer:
        return violated(f"its owner inside is {answer['uid']}")
    raise ProbeBroke(str(answer))


def made_file_is_roots(look: Look) -> Seen:
    if not look.answer("mine").get("ok"):
        return violated(f"root inside cannot make a file there: {look.answer('mine')}")
    made = look.fact("on_disk")
    if "uid" not in made:
        raise ProbeBroke(f"the host does not see the file: {made}")
    if made["uid"] == 0:
        return holds("on the disk its owner is 0")
    return violated(f"on the disk its owner is {made['uid']}")


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "marker": Ask("stat={in}/.marker", Turn.SELF),
}
