"""Stage 08a: layers and images from untrusted sources, and what they bring."""

from __future__ import annotations

import tarfile
from typing import Any, Dict, List

from harness import oci_layout as oci
from harness.properties.look import Ask, Look, never_ran, tell_run
from harness.properties.model import Control, Positive, Property
from harness.properties.observing import does_not_start, nothing_is_outside
from harness.properties.overlayfs import (keep, layer_is_there, no_whiteouts, text_of, whiteouts,
                                          whiteouts_in, with_tar)
from harness.properties.scene import Stage, look_of
from harness.properties.verdict import ROOT, NotStarted, ProbeBroke, Seen, holds, violated


def rows() -> List[Property]:
    return [
        Property(
            name="layer_brings_no_host_file", since="08a", scene=linked_layer,
            observe=no_secret_is_brought, control=Control.OTHER_SCENE,
            control_scene=layer_with_the_secret,
            earned_by=Positive(layer_with_the_secret, secret_is_brought),
            holds="a tar that makes a link, and a hard link to that link, brings no file of the"
                  " host in",
            violated="the text of a file of the host is in the container",
            lesson="A hard link to a symbolic link can be one to the link itself or to the link's"
                   " target: linkat(2) has a flag for that.",
            man="2 linkat", mistake="linkat(2) was told to follow symbolic links.",
            command="{stage} --rootfs {root} --layer hostile.tar -- /bin/cat /brought"),
        Property(
            name="layer_names_stay_inside", since="08a", scene=layer_of_names,
            observe=no_name_leads_out, control=Control.NONE,
            seen_failing="the mutant names_lead_out_of_the_layer",
            earned_by=Positive(no_whiteouts, layer_is_there),
            holds="no entry of a tar called ../../x or /x makes a file on the host",
            violated="a file of the host is written",
            lesson="The names in an archive are paths that a stranger chose (\"zip slip\").",
            man="2 openat2", mistake="Entries were made by root + name.",
            command="{stage} --rootfs {root} --layer hostile.tar -- /bin/true"),
        Property(
            name="layer_brings_no_device", since="08a", scene=layer_of_devices,
            observe=no_device_is_brought, identities=(ROOT,), control=Control.NONE,
            seen_failing="the mutant layers_bring_devices",
            earned_by=Positive(no_whiteouts, layer_is_there),
            holds="a device node in a tar is not made", violated="it is there inside",
            lesson="Root unpacks the layer: if it made a node of the host's disk, the owner that"
                   " the tar names could open it from outside.",
            man="2 mknod", mistake="Every entry of the tar was made, whatever its kind.",
            command="{stage} --rootfs {root} --layer devices.tar -- /bin/ls -l /device"),
        Property(
            name="overlay_attributes_are_left_out", since="08a", scene=layer_with_attributes,
            observe=folder_is_merged, control=Control.OTHER_SCENE, control_scene=whiteouts,
            earned_by=Positive(no_whiteouts, layer_is_there),
            holds="attributes user.overlay.* of a tar have no effect",
            violated="they hide files of the layers below",
            lesson="Overlayfs reads from attributes where a directory's files are: a stranger's"
                   " attributes could send it elsewhere.",
            man="7 xattr", mistake="All attributes of a tar were set.",
            command="{stage} --rootfs {root} --layer attributes.tar -- /bin/ls /etc"),
        Property(
            name="deep_layer_is_refused", since="08a", scene=deep_layer,
            observe=layer_is_refused, control=Control.OTHER_SCENE, control_scene=shallow_layer,
            earned_by=Positive(shallow_layer),
            holds="a layer with 400 nested directories is refused with 125",
            violated="it is unpacked",
            lesson="The kernel accepts no path of more than PATH_MAX bytes, so tools that use"
                   " whole paths can neither read nor remove such a file.",
            man="7 path_resolution", mistake="Nothing counts how deep a layer's folders are.",
            command="{stage} --rootfs {root} --layer deep.tar -- /bin/true"),
        Property(
            name="layers_keep_their_owners", since="08a", scene=owned_layer,
            observe=owners_are_kept, identities=(ROOT,), control=Control.OTHER_SCENE,
            control_scene=layer_of_root,
            holds="a file in a layer has the owner and the mode inside that the tar gives it, and"
                  " the root directory has the mode",
            violated="it has another owner, or another mode",
            lesson="A database's files belong to the database's user: if all files of its image"
                   " belong to root, it does not run.",
            man="2 chown", mistake="Files were made, but never given to their owners.",
            command="{stage} --rootfs {root} --uid-map 0:0:65536 --gid-map 0:0:65536 --layer x.tar"
                    " -- /bin/ls -ln /owned"),
        Property(
            name="image_names_its_user", since="08a", scene=image_of_a_user,
            observe=user_is_the_images, identities=(ROOT,), control=Control.OTHER_SCENE,
            control_scene=image_of_root,
            holds="an image's command runs as the image's User", violated="it runs as root",
            lesson="A program that its image's author runs without root must not get root.",
            man="2 setresuid", mistake="The config's User is not read.",
            command="{stage} --image DIR -- /bin/id"),
        Property(
            name="workdir_of_an_image_stays_inside", since="08a", scene=image_with_descriptors,
            observe=secret_is_out_of_reach, control=Control.OTHER_SCENE,
            control_scene=image_with_a_volume,
            holds="no /proc/self/fd/N as an image's WorkingDir leads to the host",
            violated="from its working directory the command reads a file of the host",
            lesson="If a descriptor of the host is still open when a path of the image is looked"
                   " up, it is a way out: CVE-2024-21626.",
            man="5 proc_pid_fd", mistake="Descriptors are closed only by the exec, after the"
                                         " chdir.",
            command="{stage} --image DIR -- /bin/cat ../../../../etc/shadow"),
        Property(
            name="greedy_layer_is_refused", since="08a", scene=greedy_layer,
            observe=layer_is_refused, control=Control.OTHER_SCENE, control_scene=modest_layer,
            earned_by=Positive(modest_layer),
            holds="a layer whose one file has 240 KB of extended attributes is refused with 125",
            violated="it is unpacked, and the container runs",
            lesson="An archive from an untrusted source decides how much memory and disk unpacking"
                   " takes, so that has to be limited.",
            man="7 xattr", mistake="The program does not count what a tar contains besides its"
                                   " files' content.",
            command="{stage} --rootfs {root} --layer greedy.tar -- /bin/true"),
        Property(
            name="kept_folder_is_closed_to_others", since="08a", scene=kept,
            observe=kept_is_closed, control=Control.OTHER_SCENE, control_scene=kept_and_opened,
            holds="no other user can reach the files that --keep stores",
            violated="other users can enter the directory",
            lesson="Root inside can make set-user-ID programs in it: any user outside who can"
                   " reach them runs them as the container's caller (CVE-2021-41091).",
            man="7 inode", mistake="The directory has the default mode of mkdir(1).",
            command="{stage} --rootfs {root} --keep /tmp/kept -- /bin/true; stat /tmp/kept"),
    ]


# --- Scenes ---------------------------------------------------------------------------------------

ALL_IDS = ("--uid-map", "0:0:65536", "--gid-map", "0:0:65536")


def with_layer(stage: Stage, verbs: str, *entries: oci.Entry, options: tuple = ()) -> Look:
    """A container with a tar file as a layer on its root; the probe does `verbs`."""
    look = look_of(stage)
    words = with_tar(stage, oci.tar(*entries))
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", *verbs.split()), *options, *words)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    return look


def linked_layer(stage: Stage) -> Look:
    """A layer with a link to a file of the host, and a hard link to that link."""
    return with_layer(stage, "read=/brought", oci.link("bait", stage.names["secret"]),
                      oci.hard_link("brought", "bait"))


def layer_with_the_secret(stage: Stage) -> Look:
    """A layer that contains the same text itself."""
    return with_layer(stage, "read=/brought",
                      oci.entry("brought", f"secret-{stage.nonce}".encode()))


def layer_of_names(stage: Stage) -> Look:
    """Two layers, with a name that climbs and with one from the root."""
    look = look_of(stage)
    outside = f"{stage.folder}/outside"
    stage.watch()
    for number, name in enumerate(("../" * 12 + f"{outside[1:]}/climbed", f"{outside}/absolute")):
        words = with_tar(stage, oci.tar(oci.entry(name, b"by the layer")))
        look.runs[f"run{number}"] = stage.run(stage.probe("hello"), *words)
    look.runs["run"] = look.runs["run0"]
    look.facts["outside"] = stage.agent.list(outside)[outside].get("entries")
    stage.agent.ask("remove", paths=[f"{outside}/{name}" for name in look.facts["outside"] or []])
    return look


def layer_of_devices(stage: Stage) -> Look:
    """A layer with a node of /dev/zero."""
    return with_layer(stage, "stat=/device", oci.entry("device", type=tarfile.CHRTYPE, devmajor=1,
                                                       devminor=5, mode=0o666))


def layer_with_attributes(stage: Stage) -> Look:
    """A layer whose folder says that it is opaque."""
    said = {"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.trusted.overlay.opaque": "y"}
    return whiteouts_in(stage, oci.folder("lower/folder", pax_headers=said),
                        oci.entry("lower/folder/new"))


def layer_of_depth(stage: Stage, depth: int) -> Look:
    return with_layer(stage, "cwd", oci.entry("d/" * depth + "file"))


def deep_layer(stage: Stage) -> Look:
    """A layer with folders in folders in folders."""
    return layer_of_depth(stage, 400)


def shallow_layer(stage: Stage) -> Look:
    """The same, but not so deep."""
    return layer_of_depth(stage, 20)


def owned_layer(stage: Stage) -> Look:
    """A layer with a file that belongs to an ordinary user, and that their group may read. Others
    may not list its root."""
    return with_layer(stage, "stat=/owned stat=/", oci.folder(".", 0o751),
                      oci.entry("owned", uid=1234, gid=2345, mode=0o2750), options=ALL_IDS)


def layer_of_root(stage: Stage) -> Look:
    """The same file, but it belongs to root."""
    return with_layer(stage, "stat=/owned stat=/", oci.entry("owned", mode=0o644), options=ALL_IDS)


def greedy_layer(stage: Stage) -> Look:
    """A layer with one file that has far more attributes than a file may have."""
    attributes = {f"SCHILY.xattr.user.a{number}": "x" * 60_000 for number in range(4)}
    return with_layer(stage, "cwd", oci.entry("file", pax_headers=attributes))


def modest_layer(stage: Stage) -> Look:
    """The same, with one small attribute."""
    return with_layer(stage, "cwd", oci.entry("file", pax_headers={"SCHILY.xattr.user.a": "x"}))


def write_image(stage: Stage, name: str, config: Dict[str, Any]) -> str:
    """An image of the root directory, with this config. Returns its path."""
    image = f"{stage.folder}/new-image-{name}"
    blobs = f"{image}/blobs/sha256"
    stage.agent.make([{"kind": "directory", "path": path, "mode": 0o755, **stage.owner}
                      for path in (image, f"{image}/blobs", blobs)])
    layer = f"{image}/layer"
    stage.busybox("tar", "-C", stage.root, "-cf", layer, ".")
    digest = stage.busybox("sha256sum", layer)["stdout"].split()[0]
    size = stage.agent.stat(layer)[layer]["size"]
    stage.busybox("mv", layer, f"{blobs}/{digest}")
    described = {"mediaType": oci.LAYER, "digest": f"sha256:{digest}", "size": size}
    stage.agent.make([{"path": f"{image}/{path}", "text": content.decode(), "mode": 0o644,
                       **stage.owner} for path, content in oci.layout([described], config).items()])
    stage.busybox("chmod", "-R", "a+rX", image)
    return image


def image_run_by(stage: Stage, user: str) -> Look:
    look = look_of(stage)
    image = write_image(stage, "user", {"Entrypoint": ["/probe", stage.nonce],
                                        "Cmd": ["hello", "hold=1"], "User": user})
    stage.watch()
    run = stage.start_words([stage.program, *ALL_IDS, "--image", image], close_stdin=False)
    if stage.wait_for_hold(look, run, "run"):
        look.facts.update(stage.facts_of_probe(run))
        stage.agent.write(run["run"], "\n", close=True)
        stage.end(look, run, "run")
    return look


def image_of_a_user(stage: Stage) -> Look:
    """An image with a User."""
    return image_run_by(stage, "1234:2345")


def image_of_root(stage: Stage) -> Look:
    """An image without one."""
    return image_run_by(stage, "")


def images_in(stage: Stage, *workdirs: str, options: tuple = ()) -> Look:
    """Images with these working directories, from which the probe climbs to the host's secret."""
    look = look_of(stage)
    verbs = ["hello", "read=" + "../" * 12 + stage.names["secret"][1:]]
    images = [write_image(stage, str(number), {
        "Entrypoint": ["/probe", stage.nonce], "Cmd": verbs, "WorkingDir": workdir})
        for number, workdir in enumerate(workdirs)]
    stage.watch()
    for number, image in enumerate(images):
        run = stage.run_words([stage.program, *options, "--image", image])
        look.runs[f"run{number}"] = run
        for verb, answers in stage.answers(run["stdout"]).items():
            look.answers.setdefault(verb, []).extend(answers)
    return look


def image_with_descriptors(stage: Stage) -> Look:
    """WorkingDir is what the program may have open there."""
    return images_in(stage, *(f"/proc/self/fd/{number}" for number in range(3, 20)), "/")


def image_with_a_volume(stage: Stage) -> Look:
    """The secret is in the container, by a volume."""
    secret = stage.names["secret"]
    return images_in(stage, "/", options=("--volume", f"{secret}:{secret}:ro"))


def kept_in(stage: Stage, opened: bool) -> Look:
    look = look_of(stage)
    words = keep(stage)
    path = words[1]
    stage.watch()
    look.runs["run"] = stage.run(stage.probe("hello", f"write=/left-{stage.nonce}"), *words)
    look.answers = stage.answers(look.runs["run"]["stdout"])
    if opened:
        stage.busybox("chmod", "-R", "0755", path)
    look.facts.update(path=path, places=stage.agent.stat(path, f"{path}/upper"))
    return look


def kept(stage: Stage) -> Look:
    """A container whose changes are stored in a directory that had the mode 0755."""
    return kept_in(stage, opened=False)


def kept_and_opened(stage: Stage) -> Look:
    """The same, but afterwards the directory is opened to all users."""
    return kept_in(stage, opened=True)


# --- Observations ---------------------------------------------------------------------------------


def no_secret_is_brought(look: Look) -> Seen:
    run, secret = look.run("run"), f"secret-{look.names['nonce']}"
    answer = text_of(look.answers, "read=/brought")
    if answer.get("text") == secret:
        return violated("the host's text is in the container")
    if look.answers.get("hello") and answer.get("errno"):
        return holds(f"what the layer has brought cannot be read: {answer['errno']}")
    if not look.answers.get("hello"):
        return does_not_start(run)
    raise ProbeBroke(f"neither the text nor an error: {answer}")


def secret_is_brought(look: Look) -> Seen:
    text = text_of(look.answers, "read=/brought").get("text")
    is_there = text == f"secret-{look.names['nonce']}"
    return (holds if is_there else violated)(f"/brought has {text!r}")


def no_name_leads_out(look: Look) -> Seen:
    return nothing_is_outside(look, any(run.get("exit") == 0 for run in look.runs.values()))


def no_device_is_brought(look: Look) -> Seen:
    answer = text_of(look.answers, "stat=/device")
    if not look.answers.get("hello"):
        return does_not_start(look.run("run"))
    if answer.get("mode", 0) & 0o170000 == 0o020000:
        return violated(f"/device inside is the device {answer['major']}:{answer['minor']}")
    if answer.get("errno") == "ENOENT" or answer.get("ok"):
        return holds(f"stat(2) of it: {answer.get('errno', 'it is no device')}")
    raise ProbeBroke(str(answer))


def folder_is_merged(look: Look) -> Seen:
    if not look.answers.get("hello"):
        return does_not_start(look.run("run"))
    names = sorted(text_of(look.answers, "list=/lower/folder").get("names", []))
    if names == ["file", "new"]:
        return holds("the folder has what both layers have")
    if names == ["new"]:
        return violated("the folder has what the upper layer has, and no more")
    raise ProbeBroke(f"the folder has {names}")


def owners_are_kept(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    file, root = text_of(look.answers, "stat=/owned"), text_of(look.answers, "stat=/")
    if "uid" not in file or "mode" not in root:
        raise ProbeBroke(f"{file}, {root}")
    got = (file["uid"], file["gid"], file["mode"] & 0o7777, root["mode"] & 0o7777)
    told = "{}:{}, mode {:o}, in a root of mode {:o}".format(*got)
    return holds(told) if got == (1234, 2345, 0o2750, 0o751) else violated(told)


def user_is_the_images(look: Look) -> Seen:
    if look.problem:
        raise NotStarted(look.problem)
    status = look.fact("status")
    got = f"uids {status['Uid']}, gids {status['Gid']}"
    if set(status["Uid"].split()) == {"1234"} and set(status["Gid"].split()) == {"2345"}:
        return holds(got)
    return violated(got)


def secret_is_out_of_reach(look: Look) -> Seen:
    secret = f"secret-{look.names['nonce']}"
    texts = [answer.get("text") for verb, answers in look.answers.items()
             if verb.startswith("read=") for answer in answers]
    if secret in texts:
        return violated("the command reads a file of the host by '..'")
    if not look.answers.get("hello"):  # with "/" for its WorkingDir, at least
        raise never_ran(look.run(list(look.runs)[-1]))
    return holds(f"it cannot be read in {len(texts)} containers; the others were refused")


def layer_is_refused(look: Look) -> Seen:
    run = look.run("run")
    if look.answers.get("hello"):
        return violated("the container runs")
    if run["why"] == "ended" and run.get("exit") == 125 and run["stderr"]:
        return holds(tell_run(run))
    raise never_ran(run)


def kept_is_closed(look: Look) -> Seen:
    if not look.answers.get("hello"):
        raise never_ran(look.run("run"))
    path = look.fact("path")
    modes = {name: place["mode"] & 0o7777 for name, place in look.fact("places").items()
             if "mode" in place}
    if path not in modes:
        raise ProbeBroke(f"the directory is gone: {look.fact('places')}")
    got = ", ".join(f"{name.replace(path, 'DIR')}: {mode:04o}" for name, mode in modes.items())
    if any(mode & 0o077 == 0 for mode in modes.values()):
        return holds(got)
    return violated(got)


ASKS: Dict[str, Ask] = {}  # the probe is asked only what the scene says
