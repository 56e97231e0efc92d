"""Stage 06, files of the host that are shown inside: --volume, --read-only."""

from __future__ import annotations

from typing import Dict, List

from harness.properties.inside import held_with, inside
from harness.properties.look import Ask, Look, never_ran
from harness.properties.model import Control, Positive, Property
from harness.properties.observing import mount_options, nothing_is_outside, refused
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import (ROOT, NotStarted, NotTestable, ProbeBroke, Seen, holds,
                                        violated)


def rows() -> List[Property]:
    return [
        Property(
            name="volume_is_shown", since="06", scene=volumes, observe=volume_is_shown,
            holds="--volume shows a directory of the host", violated="it is not there",
            lesson="A bind mount shows one thing in two places.",
            man="2 mount", mistake="--volume is ignored, or was mounted below the old root.",
            command="{stage} --rootfs {root} -v /srv:/data -- /bin/ls /data"),
        Property(
            name="single_file_is_shown", since="06", scene=volume_of_a_file,
            observe=single_file_is_shown,
            holds="--volume shows a single file of the host", violated="it is not there",
            lesson="A file can be mounted on a file; that does not need a directory.",
            man="2 mount", mistake="The mount point was made with mkdir(2), even for a file.",
            command="{stage} --rootfs {root} -v /etc/hostname:/etc/single -- /bin/cat /etc/single"),
        Property(
            name="volume_can_be_written", since="06", scene=volumes,
            observe=volume_can_be_written,
            needs=("volume_is_shown",),
            holds="what is written there is on the host, and the caller's", violated="it is not",
            lesson="A container keeps data in volumes.",
            man="2 mount", mistake="The volume is read-only, or a copy.",
            command="{stage} --rootfs {root} -v $PWD:/data -- /bin/touch /data/new; ls -l new"),
        Property(
            name="read_only_volume_cannot_be_written", since="06", scene=volumes,
            observe=volume_is_read_only, control=Control.OTHER_SCENE,
            control_scene=volumes_writable,
            needs=("volume_is_shown",),
            holds="a volume with :ro cannot be written", violated="it is written",
            lesson="MS_BIND ignores MS_RDONLY: a second call is needed.",
            man="2 mount", mistake="MS_RDONLY was passed to the call that makes the bind mount.",
            command="{stage} --rootfs {root} -v $PWD:/data:ro -- /bin/touch /data/new"),
        Property(
            name="volume_brings_no_device", since="06", scene=volumes,
            observe=volume_brings_no_device, identities=(ROOT,), control=Control.NONE,
            seen_failing="stage 06 with kNoDevices = 0",
            needs=("volume_is_shown",),
            holds="a device node in a volume cannot be opened, and set-user-ID has no effect",
            violated="it can be opened",
            lesson="A volume is for data, so it is mounted nodev and nosuid.",
            man="2 mount", mistake="The volume is mounted without MS_NODEV and MS_NOSUID.",
            command="{stage} --rootfs {root} -v /dev:/data -- /bin/head -c 1 /data/zero"),
        Property(
            name="read_only_volume_covers_submounts", since="06", scene=volume_with_mounts,
            observe=submount_is_read_only, control=Control.OTHER_SCENE,
            control_scene=volume_with_mounts_writable,
            holds="with :ro, what is mounted in the volume cannot be written either",
            violated="it is written",
            lesson="A bind mount takes the mounts below along, and each has flags of its own.",
            man="2 mount_setattr", mistake="The flags were set without AT_RECURSIVE.",
            command="mount -t tmpfs x $PWD/sub; {stage} --rootfs {root} -v $PWD:/data:ro --"
                    " /bin/touch /data/sub/new"),
        Property(
            name="volumes_submounts_bring_no_device", since="06", scene=volume_with_mounts,
            observe=submount_brings_no_device, control=Control.NONE,
            seen_failing="the mutant attributes_not_recursive",
            holds="a device node in what is mounted in a volume cannot be opened, either",
            violated="it can be opened",
            lesson="A bind mount takes the mounts below along, and each has flags of its own.",
            man="2 mount_setattr", mistake="The flags were set without AT_RECURSIVE.",
            command="{stage} --rootfs {root} -v /:/host -- /bin/head -c 1 /host/dev/zero"),
        Property(
            name="hosts_roots_files_are_closed", since="06", scene=volume_of_the_hosts_root,
            observe=roots_file_is_closed, identities=(ROOT,), control=Control.OTHER_SCENE,
            control_scene=volume_for_the_hosts_root,
            holds="a file of the host's root with mode 0600 in a volume cannot be read",
            violated="root inside reads it",
            lesson="Root inside is nobody special outside, also when root has started it.",
            man="7 user_namespaces", mistake="Root inside is the host's root, or the volume is"
                                             " shown through an idmapped mount though :idmap was"
                                             " not given.",
            command="{stage} --rootfs {root} -v /etc:/data -- /bin/cat /data/shadow"),
        Property(
            name="tmpfs_is_for_data", since="06", scene=tmpfs,
            observe=tmpfs_is_nosuid_nodev_noexec, control=Control.OTHER_SCENE,
            control_scene=tmpfs_with_exec,
            holds="--tmpfs is mounted nosuid, nodev and noexec", violated="one of them is missing",
            lesson="docker run mounts it with these flags: a tmpfs is for data, and no program"
                   " needs to be in it.",
            man="5 tmpfs", mistake="The tmpfs was mounted without flags.",
            command="{stage} --rootfs {root} --tmpfs /x -- /bin/grep /x /proc/self/mountinfo"),
        Property(
            name="tmpfs_has_its_size", since="06", scene=tmpfs, observe=tmpfs_fills_up,
            control=Control.OTHER_SCENE, control_scene=tmpfs_with_exec,
            holds="a tmpfs with size=64k does not accept 256 KiB", violated="it accepts them",
            lesson="A tmpfs uses the machine's memory: without a size, up to half of it.",
            man="5 tmpfs", mistake="The options of --tmpfs are ignored.",
            command="{stage} --rootfs {root} --tmpfs /x:size=64k -- /bin/dd if=/dev/zero of=/x/y"
                    " bs=64k count=4"),
        Property(
            name="volume_stays_inside", since="06", scene=hostile_volume,
            observe=volume_stays_inside, control=Control.NONE,
            seen_failing="stage 06 with make_mount_point() before pivot_into(), on root + target",
            earned_by=Positive(volumes, volume_is_shown),
            holds="a link in the root does not lead a volume out of it",
            violated="something is made outside",
            lesson="A process outside a root follows the links in it: they lead wherever the"
                   " author of the root wants.",
            man="7 symlink", mistake="The mount point was looked up from outside the root.",
            command="ln -s /srv {root}/x; {stage} --rootfs {root} -v /tmp:/x/y -- /bin/true; ls"
                    " /srv"),
        Property(
            name="read_only_root_cannot_be_written", since="06", scene=read_only,
            asks=("root_write",), observe=refused("root_write", "EROFS"),
            control=Control.OTHER_SCENE, control_scene=inside,
            holds="with --read-only nothing can be written to /", violated="a file is made",
            lesson="If a container cannot change its root, an attacker cannot leave a program"
                   " there.",
            man="2 mount_setattr", mistake="--read-only is ignored.",
            command="{stage} --rootfs {root} --read-only -- /bin/touch /new"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------


def volumes_in(stage: Stage, mode: str) -> Look:
    look = look_of(stage)
    volume = f"{stage.folder}/volume"
    if stage.agent.has_own_host:
        stage.agent.make([{"kind": "device", "path": f"{volume}/device", "major": 1, "minor": 5,
                           "mode": 0o666, **stage.owner}])
    options = (["-v", f"{volume}:/data", "-v", f"{volume}:/fixed{mode}"]
               if stage.at_least("06") else [])
    stage.watch()
    run = stage.start(stage.probe(
        "hello", "read=/data/file", f"write=/data/new-{stage.nonce}",
        f"write=/fixed/no-{stage.nonce}", "read=/data/device", "hold=1"), *options)
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        new, fixed = f"{volume}/new-{stage.nonce}", f"{volume}/no-{stage.nonce}"
        places = stage.agent.stat(new, fixed)
        look.facts["new"], look.facts["fixed"] = places[new], places[fixed]
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
        stage.agent.ask("remove", paths=[new, fixed])  # written by the probe
    return look


def volumes(stage: Stage) -> Look:
    """Files of the host, shown in the container: one place may be written, one may not."""
    return volumes_in(stage, ":ro")


def volumes_writable(stage: Stage) -> Look:
    """The same, but both places may be written."""
    return volumes_in(stage, "")


def volume_of_a_file(stage: Stage) -> Look:
    """A file of the host, at a path that the root has not."""
    options = (["-v", f"{stage.folder}/volume/file:/etc/single"] if stage.at_least("06") else [])
    return held_with(stage, ["read=/etc/single"], *options)


def volume_with_mounts_in(stage: Stage, mode: str) -> Look:
    look = look_of(stage)
    if not stage.agent.has_own_host:
        raise NotTestable("needs root on the host: something must be mounted in the volume")
    volume = f"{stage.folder}/volume"
    sub = f"{volume}/sub"
    stage.agent.make([{"kind": "directory", "path": sub, "mode": 0o777, **stage.owner}])
    stage.busybox("mount", "-t", "tmpfs", "-o", "mode=777", "sub", sub)
    stage.agent.make([{"kind": "device", "path": f"{sub}/device", "major": 1, "minor": 5,
                       "mode": 0o666}])
    stage.watch()
    look.runs["run"] = stage.run(
        stage.probe("hello", f"write=/fixed/sub/no-{stage.nonce}", "read=/data/sub/device"),
        "-v", f"{volume}:/fixed{mode}", "-v", f"{volume}:/data")
    look.answers = stage.answers(look.runs["run"]["stdout"])
    look.facts["new"] = stage.agent.stat(f"{sub}/no-{stage.nonce}")[f"{sub}/no-{stage.nonce}"]
    return look


def volume_with_mounts(stage: Stage) -> Look:
    """Something else is mounted in the volume: one place may be written, one may not."""
    return volume_with_mounts_in(stage, ":ro")


def volume_with_mounts_writable(stage: Stage) -> Look:
    """The same, but both places may be written."""
    return volume_with_mounts_in(stage, "")


def volume_of_the_hosts_root_in(stage: Stage, *options: str) -> Look:
    look = look_of(stage)
    volume = f"{stage.folder}/volume"
    stage.agent.make([{"path": f"{volume}/roots", "text": f"roots-{stage.nonce}", "mode": 0o600,
                       "uid": 0, "gid": 0}])
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "read=/data/roots"), "-v",
                                 f"{volume}:/data", *options)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def volume_of_the_hosts_root(stage: Stage) -> Look:
    """A volume with a file that is for the host's root alone."""
    return volume_of_the_hosts_root_in(stage)


def volume_for_the_hosts_root(stage: Stage) -> Look:
    """The same, and root inside is the host's root."""
    return volume_of_the_hosts_root_in(stage, "--uid-map", "0:0:65536", "--gid-map", "0:0:65536")


def tmpfs_in(stage: Stage, large: str, small: str) -> Look:
    look = look_of(stage)
    stage.watch()
    run = stage.start(stage.probe("hello", "fill=/small/file,256", "hold=1"),
                      "--tmpfs", f"/large{large}", "--tmpfs", f"/small{small}")
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


def tmpfs(stage: Stage) -> Look:
    """--tmpfs, with a size and without."""
    return tmpfs_in(stage, "", ":size=64k")


def tmpfs_with_exec(stage: Stage) -> Look:
    """The same, but one may have programs, and the other is larger."""
    return tmpfs_in(stage, ":exec", ":size=1m")


def read_only(stage: Stage) -> Look:
    """--read-only"""
    look = look_of(stage)
    stage.watch()
    look.runs["run"] = stage.run(stage.probe(stage.verb("root_write")),
                                 "--read-only")
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def hostile_volume(stage: Stage) -> Look:
    """A root in which a directory is a link to one of the host, and a volume that goes there."""
    look = look_of(stage)
    outside = f"{stage.folder}/outside"
    stage.agent.make([{"kind": "link", "path": f"{stage.root}/escape", "text": outside}])
    stage.watch()
    run = stage.start(stage.probe("hello", "hold=1"), "-v",
                      f"{stage.folder}/volume:/escape/made-{stage.nonce}")
    look.facts["held"] = stage.expect(run, '"held":"waiting"')["found"]
    look.facts["outside"] = stage.agent.list(outside)[outside].get("entries")
    stage.agent.write(run["run"], "\n", close=True)
    stage.end(look, run, "run")
    return look


# --- Observations ---------------------------------------------------------------------------------


def volume_is_shown(look: Look) -> Seen:
    return file_is_shown(look, "/data/file")


def single_file_is_shown(look: Look) -> Seen:
    return file_is_shown(look, "/etc/single")


def file_is_shown(look: Look, path: str) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    answer = look.answers.get(f"read={path}", [{}])[0]
    if answer.get("text") == f"volume-{look.names['nonce']}":
        return holds(f"the probe reads the host's file at {path}")
    return violated(f"the probe got {answer.get('errno') or repr(answer.get('text'))}")


def volume_can_be_written(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    new = look.fact("new")
    answer = look.answers.get(f"write=/data/new-{look.names['nonce']}", [{}])[0]
    owner = new.get("uid")
    # Root's container has ids that belong to no user, and a volume keeps its owners.
    if answer.get("ok") and owner is not None and \
            (owner == look.uid or look.uid == 0 and owner >= 100000):
        return holds(f"the host has the new file, and it belongs to {owner}")
    if new.get("errno") == "ENOENT":
        return violated(f"the host does not have it: {answer}")
    return violated(f"on the host it belongs to {new.get('uid')}")


def volume_is_read_only(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    answer = look.answers.get(f"write=/fixed/no-{look.names['nonce']}", [{}])[0]
    if "ino" in look.fact("fixed"):
        return violated("the host has the file that was written there")
    if answer.get("errno") == "EROFS":
        return holds("open(2) returned EROFS, and the host has no new file")
    if answer.get("errno") == "ENOENT" or answer.get("ok"):
        return violated("there is no volume, or it is not the host's directory")
    raise ProbeBroke(str(answer))


def volume_brings_no_device(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    answer = look.answers.get("read=/data/device", [{}])[0]
    if answer.get("ok"):
        return violated("a device node in the volume was opened")
    if answer.get("errno") == "EACCES" and "nosuid" in mount_options(look, "/data"):
        return holds("open(2) returned EACCES, and the mount is nosuid")
    return violated(f"{answer}, mounted {mount_options(look, '/data')}")


def submount_is_read_only(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    answer = look.answers.get(f"write=/fixed/sub/no-{look.names['nonce']}", [{}])[0]
    if "ino" in look.fact("new"):
        return violated("the host has the file that was written there")
    if answer.get("errno") in ("EROFS", "ENOENT"):  # it may also not be shown at all
        return holds(f"open(2) said {answer['errno']}, and the host has no new file")
    raise ProbeBroke(str(answer))


def submount_brings_no_device(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    answer = look.answers.get("read=/data/sub/device", [{}])[0]
    if answer.get("ok"):
        return violated("a device node in what is mounted in the volume was opened")
    if answer.get("errno") in ("EACCES", "ENOENT"):
        return holds(f"open(2) said {answer['errno']}")
    raise ProbeBroke(str(answer))


def roots_file_is_closed(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    answer = look.answers.get("read=/data/roots", [{}])[0]
    if answer.get("text") == f"roots-{look.names['nonce']}":
        return violated("the probe read a file of mode 0600 that is the host's root's")
    if answer.get("errno") in ("EACCES", "EPERM"):
        return holds(f"open(2) said {answer['errno']}")
    if answer.get("errno") == "ENOENT":
        return violated("there is no volume")
    raise ProbeBroke(str(answer))


def tmpfs_is_nosuid_nodev_noexec(look: Look) -> Seen:
    options = mount_options(look, "/large")
    told = f"/large is mounted {','.join(options) or 'not at all'}"
    if all(flag in options for flag in ("nosuid", "nodev", "noexec")):
        return holds(told)
    return violated(told)


def tmpfs_fills_up(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    answer = look.answers.get("fill=/small/file,256", [{}])[0]
    if answer.get("errno") == "ENOSPC":
        return holds("write(2) said ENOSPC")
    if answer.get("ok"):
        return violated("it took 256 KiB")
    if answer.get("errno") in ("ENOENT", "EROFS", "EACCES"):
        return violated(f"it is not there, or takes nothing at all: {answer['errno']}")
    raise ProbeBroke(str(answer))


def volume_stays_inside(look: Look) -> Seen:
    return nothing_is_outside(look, look.fact("held"))


# --- What the probe is asked ----------------------------------------------------------------------

ASKS: Dict[str, Ask] = {
    "root_write": Ask("write={in}/written-{nonce}"),
}
