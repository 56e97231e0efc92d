"""Stage 06: what a hostile root, and root inside, do to devices, masks and mount points."""

from __future__ import annotations

from typing import Dict, List, Sequence

from harness.properties.look import Ask, Look, never_ran, tell_run
from harness.properties.model import SHELL, Control, Positive, Property
from harness.properties.pivot_root_volumes import volume_is_shown, volumes
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import (ROOT, NotStarted, NotTestable, ProbeBroke, Seen, holds,
                                        violated)


def rows() -> List[Property]:
    return [
        Property(
            name="devices_cannot_be_changed", since="06", scene=own_devices,
            observe=mode_is_kept("full"), control=Control.NONE,
            seen_failing="the mutant devices_writable",
            holds="chmod(2) of /dev/full inside does not change the host's /dev/full",
            violated="the mode of the host's device changes",
            lesson="A bind mount shows the host's own inode: chmod 0 /dev/null in a container that"
                   " root has started would break programs all over the host.",
            man="2 mount_setattr", mistake="The devices are bind-mounted, but not read-only.",
            command=SHELL + " 'chmod 444 /dev/full'; ls -l /dev/full"),
        Property(
            name="masks_cannot_be_changed", since="06", scene=own_devices,
            observe=mode_is_kept("null"), control=Control.NONE,
            seen_failing="the mutant masks_writable",
            holds="chmod(2) of a file of /proc that is masked does not change the host's /dev/null",
            violated="the mode of the host's device changes",
            lesson="The mask over a file of /proc is a bind mount of the host's null device: a"
                   " change of its mode would change the host's (CVE-2025-52565).",
            man="2 mount_setattr", mistake="The masks are bind-mounted, but not read-only.",
            command=SHELL + " 'chmod 444 /proc/interrupts'; ls -l /dev/null"),
        Property(
            name="masks_are_the_hosts_null", since="06", scene=null_covered,
            observe=mask_is_empty, control=Control.NONE,
            seen_failing="the mutant masks_of_the_roots_null",
            holds="/proc/interrupts is not what the container has at /dev/null",
            violated="it has the text of the file that the container has at /dev/null",
            lesson="If the mask is taken from the container's own /dev/null, the container chooses"
                   " it: in CVE-2025-31133 it was a link to core_pattern.",
            man="2 open_tree", mistake="The null device was taken by its path, from inside.",
            command="{stage} --rootfs {root} -v /etc/hostname:/dev/null -- /bin/cat"
                    " /proc/interrupts"),
        Property(
            name="volume_covers_none_of_our_mounts", since="06", scene=volumes_over_ours,
            observe=nothing_is_covered, control=Control.NONE,
            seen_failing="the mutant volume_over_dev",
            earned_by=Positive(volumes, volume_is_shown),
            holds="no link in the root leads a volume to /, /dev, or into /proc or /sys",
            violated="the volume is there",
            lesson="If the image chooses /dev or /proc, it also chooses what the set-up finds"
                   " there.",
            man="7 symlink", mistake="Only the target's name was checked, not where it leads.",
            command="ln -s /dev {root}/work; {stage} --rootfs {root} -v /srv:/work -- /bin/ls"
                    " /dev"),
        Property(
            name="sys_and_dev_stay_in_place", since="06", scene=links_for_ours,
            observe=ours_are_in_place, control=Control.NONE,
            seen_failing="the mutant links_lead_sys_away",
            holds="a root whose /sys or /dev is a link gets no mount elsewhere",
            violated="sysfs, or the container's /dev, is mounted where the link leads",
            lesson="A mount protects only the place where it is: if a link moves it, the real place"
                   " stays open (CVE-2019-19921).",
            man="7 symlink", mistake="The mount points were named by a path that follows links.",
            command="ln -sfn /mnt {root}/sys; " + SHELL + " 'cat /proc/self/mountinfo'"),
        Property(
            name="volume_target_leads_nowhere", since="06", scene=volume_targets,
            observe=nothing_is_made_outside, control=Control.NONE,
            seen_failing="the mutant mount_points_by_path",
            earned_by=Positive(volumes, volume_is_shown),
            holds="neither '..' nor a link to /proc/self/fd/N in a volume's target makes anything"
                  " on the host",
            violated="a directory is made on the host",
            lesson="The set-up has more rights than the command, and it makes missing directories:"
                   " if a link leads it outside, it makes them on the host (CVE-2021-30465,"
                   " CVE-2024-45310).",
            man="2 openat2", mistake="The mount point was made by its path.",
            command="ln -s /proc/self/fd/3/srv {root}/x; {stage} --rootfs {root} -v /tmp:/x/made"
                    " -- /bin/true 3</; ls /srv"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------

ALL_IDS = ("--uid-map", "0:0:65536", "--gid-map", "0:0:65536")
DEVICES = {"null": 3, "full": 7}  # minor numbers, see null(4) and full(4)
# The mode that /proc/interrupts has: where nothing masks it, the machine's own file is changed.
CHANGES = {"full": "chmod=/dev/full,0444", "null": "chmod=/proc/interrupts,0444"}


def own_devices(stage: Stage) -> Look:
    """The host's null and full are the caller's, and nodes of this test: root inside changes them.
    """
    look = look_of(stage)
    if not stage.agent.has_own_host:
        raise NotTestable("needs root on the host: its devices must be others")
    for name, minor in DEVICES.items():
        stage.agent.make([{"kind": "device", "path": f"{stage.folder}/new-{name}", "major": 1,
                           "minor": minor, "mode": 0o666, **stage.owner}])
        stage.busybox("mount", "--bind", f"{stage.folder}/new-{name}", f"/dev/{name}")
    ids = ALL_IDS if stage.identity == ROOT else ()
    stage.watch()
    look.runs["run"] = stage.run(
        stage.probe("hello", CHANGES["full"], CHANGES["null"], "exit=37"), *ids)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    look.facts["nodes"] = stage.agent.stat(*[f"{stage.folder}/new-{name}" for name in DEVICES])
    return look


def null_covered(stage: Stage) -> Look:
    """A volume is mounted on /dev/null."""
    look = look_of(stage)
    stage.watch()
    look.runs["run"] = stage.run(
        stage.probe("hello", "read=/dev/null", "read=/proc/interrupts", "exit=37"),
        "-v", f"{stage.folder}/volume/file:/dev/null")
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def volumes_over_ours(stage: Stage) -> Look:
    """Volumes whose target is a link in the root to a place that the container's own mounts have.
    """
    look = look_of(stage)
    places = ("/dev", "/", "/proc/sys", "/sys/kernel")
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "exit=37"))
    for number, place in enumerate(places):
        stage.agent.make([{"kind": "link", "path": f"{stage.root}/work{number}", "text": place}])
        look.runs[place] = stage.run(stage.probe("hello", f"read={place}/file"),
                                     "-v", f"{stage.folder}/volume:/work{number}")
    look.facts["texts"] = {
        place: stage.answers(look.runs[place]["stdout"]).get(f"read={place}/file", [{}])[0]
        for place in places}
    return look


def links_for_ours(stage: Stage) -> Look:
    """A root in which /sys is a link, and one in which /dev is."""
    look = look_of(stage)
    look.facts["mounts"] = {}
    stage.watch()
    for name, target in (("sys", "mnt/own"), ("dev", "mnt/host")):
        path = f"{stage.root}/{name}"
        stage.busybox("mv", path, f"{path}-aside")
        stage.agent.make([{"kind": "link", "path": path, "text": target}])
        run = stage.start(stage.probe("hello", "hold=1"))
        if stage.expect(run, '"held":"waiting"')["found"]:
            look.facts["mounts"][target] = stage.facts_of_probe(run)["mountinfo"]
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, name)
        stage.agent.ask("remove", paths=[path])
        stage.busybox("mv", f"{path}-aside", path)
    look.runs["run"] = stage.run(stage.probe("hello", "exit=37"))
    return look


def volume_targets(stage: Stage) -> Look:
    """Volumes with a target that could lead to a folder of the host's; the caller has "/" open."""
    look = look_of(stage)
    outside = f"{stage.folder}/outside"
    files = [{"fd": fd, "path": "/"} for fd in (3, 5, 8)]
    links = {f"fd{fd}": f"/proc/self/fd/{fd}{outside}" for fd in range(3, 10)}
    links["up"] = "../" * 12 + outside[1:]
    stage.agent.make([{"kind": "link", "path": f"{stage.root}/{name}", "text": text}
                      for name, text in links.items()])
    targets = [f"/{name}/made-{name}" for name in links]
    targets += ["/" + "../" * 12 + f"{outside[1:]}/made-dots", f"/mnt/../../..{outside}/made-mnt"]
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", "exit=37"), files=files)
    for target in targets:
        look.runs[target] = stage.run(stage.probe("hello"), "-v",
                                      f"{stage.folder}/volume:{target}", files=files)
    look.facts["outside"] = stage.agent.list(outside)[outside].get("entries")
    stage.agent.ask("remove", paths=[f"{outside}/{name}" for name in look.facts["outside"] or []])
    return look


# --- Observations ---------------------------------------------------------------------------------


def started(look: Look) -> None:
    """Raises NotStarted if even an ordinary command does not run."""
    if look.run("run").get("exit") != 37:
        raise never_ran(look.run("run"))


def mode_is_kept(device: str):
    """Has the host's device, which root inside wanted to change, still its mode?"""
    def observe(look: Look) -> Seen:
        if not look.answers.get("hello"):
            raise never_ran(look.run("run"))
        answer = look.answers.get(CHANGES[device], [{}])[0]
        node = next(node for path, node in look.fact("nodes").items() if path.endswith(device))
        mode = node.get("mode", 0) & 0o7777
        if mode == 0o444:
            return violated(f"the host's {device} has mode 0444 now")
        if mode == 0o666 and "errno" in answer:
            return holds(f"chmod(2) said {answer['errno']}; the host's {device} has mode 0666")
        if mode == 0o666 and answer.get("ok"):
            return holds(f"chmod(2) changed something else; the host's {device} has mode 0666")
        raise ProbeBroke(f"{node}; {answer}")
    return observe


def text_read(look: Look, path: str) -> str:
    answer: Dict = look.answers.get(f"read={path}", [{}])[0]
    return str(answer.get("text", answer.get("errno", "no answer")))


def mask_is_empty(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    wanted = f"volume-{look.names['nonce']}"
    if text_read(look, "/dev/null") != wanted:
        raise NotStarted("the volume is not at /dev/null: " + text_read(look, "/dev/null"))
    text = text_read(look, "/proc/interrupts")
    if text == wanted:
        return violated("/proc/interrupts is the file that the container has at /dev/null")
    if text in ("", "EACCES", "ENOENT"):
        return holds(f"reading /proc/interrupts gives {text!r}")
    return holds(f"/proc/interrupts is the kernel's, without any mask: {text[:20]!r}")


def nothing_is_covered(look: Look) -> Seen:
    started(look)
    wanted = f"volume-{look.names['nonce']}"
    texts = look.fact("texts")
    covered = [place for place, answer in texts.items() if answer.get("text") == wanted]
    if covered:
        return violated(f"the volume is at {', '.join(covered)}")
    return holds(f"it is at none of {', '.join(texts)}: {tell_run(look.run('/dev'))}")


def ours_are_in_place(look: Look) -> Seen:
    started(look)
    for target, mountinfo in look.fact("mounts").items():
        points: Sequence[str] = [line.split()[4] for line in mountinfo.splitlines()]
        if f"/{target}" in points:
            return violated(f"something is mounted at /{target}, where a link of the root leads")
    return holds("nothing is mounted where the links lead; "
                 + "; ".join(f"{name}: {tell_run(look.run(name))}" for name in ("sys", "dev")))


def nothing_is_made_outside(look: Look) -> Seen:
    started(look)
    made = look.fact("outside")
    if made is None:
        raise ProbeBroke("the folder outside cannot be read")
    if made:
        return violated(f"on the host there is now {', '.join(sorted(made))}")
    return holds(f"nothing is made on the host in {len(look.runs) - 1} starts")


ASKS: Dict[str, Ask] = {}  # the probe is asked what the scenes say, and nothing more
